//! The files that policies refer to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::settings::read_text;

/// Gives the files that policies refer to, by their names as written.
pub trait Files {
    /// Returns the text of a file.
    ///
    /// # Errors
    /// What there is to say of the file after its name.
    fn read(&self, name: &str) -> Result<String, String>;
}

/// A folder in which relative names are looked up.
#[derive(Debug, Clone)]
pub struct Folder(pub PathBuf);

impl Files for Folder {
    fn read(&self, name: &str) -> Result<String, String> {
        read_text(&self.0.join(name))
    }
}

/// The files that policies were read with, by name.
impl Files for BTreeMap<String, String> {
    fn read(&self, name: &str) -> Result<String, String> {
        self.get(name)
            .cloned()
            .ok_or_else(|| "is not among the files that came with the policies".to_string())
    }
}

/// The files looked up so far, each read once.
pub(super) struct Library<'a> {
    files: &'a dyn Files,
    read: RefCell<BTreeMap<String, Result<String, String>>>,
}

impl<'a> Library<'a> {
    /// A library of which nothing was read.
    pub fn new(files: &'a dyn Files) -> Library<'a> {
        Library { files, read: RefCell::default() }
    }

    /// The text of a file, or what there is to say of it after its name.
    pub fn text(&self, name: &str) -> Result<String, String> {
        let mut read = self.read.borrow_mut();
        read.entry(name.to_string()).or_insert_with(|| self.files.read(name)).clone()
    }

    /// The texts of the files that could be read, by name.
    pub fn into_texts(self) -> BTreeMap<String, String> {
        let read = self.read.into_inner().into_iter();
        read.filter_map(|(name, text)| Some((name, text.ok()?))).collect()
    }
}
