//! Temporary files without a name, for what comes or goes once and may be needed again.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::process;

/// A file that is gone once it is closed.
pub fn spool() -> io::Result<File> {
    for attempt in 0..1000 {
        let path = path(attempt);
        match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "no free name for a temporary file"))
}

fn path(attempt: u32) -> PathBuf {
    std::env::temp_dir().join(format!("overdue-{}-{attempt}", process::id()))
}
