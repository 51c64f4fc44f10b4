//! Lines of files as events, several files merged by time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::Error;
use super::spool::spool;
use crate::sla::fact::Fact;
use crate::sla::instant::Instant;
use crate::wire::decode::{Decoder, RECORD_BYTES_MAX, Reason, Rejected, Settings};
use crate::wire::record::{Record, Topic};

/// Files of events, read by time: the order of each is kept, and of the same time the earlier argument goes
/// first. Rule F3.
#[derive(Debug)]
pub struct Inputs {
    files: Vec<Input>,
    decoder: Decoder,
}

/// One line that is not blank.
#[derive(Debug)]
pub struct Line<'a> {
    /// Its file, by argument.
    pub file: Topic,
    /// Its number, from 1.
    pub number: u64,
    /// What it says.
    pub event: Result<Event<'a>, Rejected>,
}

/// An event as it bears on a lead.
#[derive(Debug)]
pub struct Event<'a> {
    /// The lead.
    pub lead_id: &'a str,
    /// What happened to it.
    pub fact: Fact,
}

#[derive(Debug)]
struct Input {
    name: String,
    reader: BufReader<File>,
    /// Where it starts: standard input may have been read from before.
    start: u64,
    bytes: u64,
    bytes_read: u64,
    lines_read: u64,
    line: Vec<u8>,
    /// The lead of the event that comes next.
    lead_id: String,
    head: Head,
}

/// The line of a file that comes next.
#[derive(Debug)]
enum Head {
    /// It was not read yet.
    Unread,
    /// It is rejected, and goes at once.
    Rejected(Rejected),
    /// It waits for its time.
    Event(Fact),
    /// There is none.
    End,
}

const BUFFER_BYTES: usize = 1 << 18;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Inputs {
    /// Opens files; `-` is standard input. What cannot be read twice is copied to a temporary file first.
    pub fn open(paths: &[PathBuf]) -> Result<Inputs, Error> {
        let files = paths.iter().map(|path| Input::open(path)).collect::<Result<_, _>>()?;
        let decoder = Decoder::new(Settings { future_skew_max_ms: 0, are_files: true });
        Ok(Inputs { files, decoder })
    }

    /// The names of the files, as given.
    pub fn names(&self) -> Vec<String> {
        self.files.iter().map(|file| file.name.clone()).collect()
    }

    /// The length of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.files.iter().map(|file| file.bytes_read).sum()
    }

    /// Goes back to the first line.
    pub(super) fn restart(&mut self) -> Result<(), Error> {
        self.files.iter_mut().try_for_each(Input::restart)
    }

    /// The next line by time; rejected ones as soon as they are read.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>, Error> {
        for (index, file) in self.files.iter_mut().enumerate() {
            if matches!(file.head, Head::Unread) {
                file.read(&mut self.decoder, index as Topic)?;
            }
        }
        let Some(index) = self.earliest() else { return Ok(None) };
        Ok(self.files[index].give(index as Topic))
    }

    /// The file whose line goes next.
    fn earliest(&self) -> Option<usize> {
        if let [file] = self.files.as_slice() {
            return (!matches!(file.head, Head::End)).then_some(0);
        }
        let time = |file: &Input| match &file.head {
            Head::Rejected(_) => Some(Instant::MIN),
            Head::Event(fact) => Some(fact.time),
            Head::Unread | Head::End => None,
        };
        let heads = self.files.iter().enumerate().filter_map(|(index, file)| Some((time(file)?, index)));
        heads.min().map(|(_, index)| index)
    }
}

impl Input {
    fn open(path: &Path) -> Result<Input, Error> {
        let name = path.display().to_string();
        let open = || {
            let file = match name.as_str() {
                "-" => File::from(io::stdin().as_fd().try_clone_to_owned()?),
                _ => File::open(path)?,
            };
            repeatable(file)
        };
        let (file, start, bytes) = open().map_err(|error| Error::Input(name.clone(), error))?;
        Ok(Input {
            name,
            reader: BufReader::with_capacity(BUFFER_BYTES, file),
            start,
            bytes,
            bytes_read: 0,
            lines_read: 0,
            line: Vec::new(),
            lead_id: String::new(),
            head: Head::Unread,
        })
    }

    fn restart(&mut self) -> Result<(), Error> {
        let start = SeekFrom::Start(self.start);
        self.reader.seek(start).map_err(|error| Error::Input(self.name.clone(), error))?;
        (self.bytes_read, self.lines_read, self.head) = (0, 0, Head::Unread);
        Ok(())
    }

    /// Reads the next line that is not blank.
    fn read(&mut self, decoder: &mut Decoder, topic: Topic) -> Result<(), Error> {
        self.head = loop {
            let length = self.read_line().map_err(|error| Error::Input(self.name.clone(), error))?;
            if length == 0 {
                break Head::End;
            }
            if RECORD_BYTES_MAX < self.line.len() {
                break Head::Rejected(oversize(length));
            }
            if !self.line.trim_ascii().is_empty() {
                break self.decode(decoder, topic);
            }
        };
        Ok(())
    }

    /// Reads a line without its end, of one that is too long only the beginning, and returns its length.
    fn read_line(&mut self) -> io::Result<u64> {
        const BYTES_MAX: u64 = RECORD_BYTES_MAX as u64 + 2;
        self.line.clear();
        let mut length = self.reader.by_ref().take(BYTES_MAX).read_until(b'\n', &mut self.line)? as u64;
        if length == BYTES_MAX && self.line.last() != Some(&b'\n') {
            length += self.reader.skip_until(b'\n')? as u64;
        }
        self.bytes_read += length;
        self.lines_read += 1;
        for end in [b'\n', b'\r'] {
            if self.line.last() == Some(&end) {
                self.line.pop();
            }
        }
        if self.lines_read == 1 && self.line.starts_with(BYTE_ORDER_MARK) {
            self.line.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(length)
    }

    fn decode(&mut self, decoder: &mut Decoder, topic: Topic) -> Head {
        let record = Record {
            topic,
            partition: 0,
            offset: self.lines_read as i64,
            timestamp: None,
            key: None,
            value: Some(&self.line),
            headers: &[],
        };
        match decoder.decode(&record) {
            Ok(event) => {
                self.lead_id.clear();
                self.lead_id.push_str(&event.lead_id);
                Head::Event(event.fact)
            }
            Err(rejected) => Head::Rejected(rejected),
        }
    }

    /// Gives the next line away.
    fn give(&mut self, file: Topic) -> Option<Line<'_>> {
        let event = match std::mem::replace(&mut self.head, Head::Unread) {
            Head::Event(fact) => Ok(Event { lead_id: &self.lead_id, fact }),
            Head::Rejected(rejected) => Err(rejected),
            end => {
                self.head = end;
                return None;
            }
        };
        Some(Line { file, number: self.lines_read, event })
    }
}

fn oversize(length: u64) -> Rejected {
    Rejected { reason: Reason::Oversize, detail: format!("{length} bytes"), lead_id: None }
}

/// The file, or a copy of what is no regular file, where it starts, and its length from there.
fn repeatable(mut file: File) -> io::Result<(File, u64, u64)> {
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    if about.is_file() {
        let start = file.stream_position()?;
        return Ok((file, start, about.len().saturating_sub(start)));
    }
    let mut copy = spool()?;
    let bytes = io::copy(&mut file, &mut copy)?;
    Ok((copy, 0, bytes))
}
