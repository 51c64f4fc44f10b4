//! Where breaches and clocks go: files that can be begun anew.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use super::Error;
use super::spool::spool;

/// What is written besides the report.
#[derive(Debug, Default)]
pub struct Outputs {
    /// The outputs as `run` would have written them.
    pub breaches: Option<Sink>,
    /// One line a clock.
    pub clocks: Option<Sink>,
}

impl Outputs {
    /// Drops what was written.
    pub(super) fn restart(&mut self) -> Result<(), Error> {
        self.sinks().try_for_each(Sink::restart)
    }

    /// Sees to it that everything has arrived where it goes.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.sinks().try_for_each(Sink::finish)
    }

    fn sinks(&mut self) -> impl Iterator<Item = &mut Sink> {
        self.breaches.iter_mut().chain(&mut self.clocks)
    }
}

/// A file, or standard output by way of a temporary file.
#[derive(Debug)]
pub struct Sink {
    name: String,
    writer: BufWriter<File>,
    /// Where it goes in the end, where that can be written only once.
    goes_to: Option<File>,
    goes_to_stdout: bool,
}

const BUFFER_BYTES: usize = 1 << 18;

impl Sink {
    /// Writes to a file, which is made or emptied. What is no regular file is written once, in the end.
    pub fn file(path: &Path) -> Result<Sink, Error> {
        let name = path.display().to_string();
        let open = || {
            let file = File::options().write(true).create(true).truncate(false).open(path)?;
            Ok(match file.metadata()?.is_file() {
                true => (file, None),
                false => (spool()?, Some(file)),
            })
        };
        let (file, goes_to) = open().map_err(|error| Error::Output(name.clone(), error))?;
        let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Sink { name, writer, goes_to, goes_to_stdout: false })
    }

    /// Writes to standard output, in the end.
    pub fn stdout() -> Result<Sink, Error> {
        let name = "-".to_owned();
        let file = spool().map_err(|error| Error::Output(name.clone(), error))?;
        let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Sink { name, writer, goes_to: None, goes_to_stdout: true })
    }

    /// Writes one line.
    pub(super) fn line(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
        let done = write(&mut self.writer).and_then(|()| self.writer.write_all(b"\n"));
        done.map_err(|error| self.failed(error))
    }

    fn restart(&mut self) -> Result<(), Error> {
        let done = self.writer.rewind().and_then(|()| self.writer.get_ref().set_len(0));
        done.map_err(|error| self.failed(error))
    }

    fn finish(&mut self) -> Result<(), Error> {
        let done = self.writer.flush().and_then(|()| self.deliver());
        done.map_err(|error| self.failed(error))
    }

    fn deliver(&mut self) -> io::Result<()> {
        if self.goes_to.is_none() && !self.goes_to_stdout {
            return Ok(());
        }
        let mut spooled = self.writer.get_ref();
        spooled.rewind()?;
        if let Some(file) = &mut self.goes_to {
            io::copy(&mut spooled, file)?;
        }
        if self.goes_to_stdout {
            let mut stdout = io::stdout().lock();
            io::copy(&mut spooled, &mut stdout)?;
            stdout.flush()?;
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::Output(self.name.clone(), error)
    }
}
