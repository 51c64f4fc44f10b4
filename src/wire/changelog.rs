//! Records of the changelog: every lead's state under its id, and one record of progress a partition.
//!
//! | key | value |
//! |---|---|
//! | `L` and the lead id | format number, then the lead; none once the lead is forgotten |
//! | `G` and when it was found | [`GapRecord`] as JSON |
//! | `P` | [`Progress`] as JSON |

use serde::{Deserialize, Serialize};

use super::record::Position;
use crate::sla::instant::Instant;
use crate::sla::store::Lead;
use crate::sla::timeline::Gap;

/// The first byte of every lead's value.
const FORMAT: u8 = 2;

/// A record of the changelog that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a changelog record cannot be read: {0}")]
pub struct Unreadable(String);

/// What a partition's changelog belongs to and how far its input was applied. One is written with every
/// transaction that touches the partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The format of the partition's records.
    pub format: u8,
    /// Drawn at the first start, so that a changelog that was made anew is told apart.
    pub incarnation: String,
    /// How many partitions every input topic has.
    pub partitions: i32,
    /// The input topics, in the order of the configuration.
    pub inputs: Vec<Input>,
    /// The transaction's nonce, also the metadata of the offsets it committed.
    pub nonce: String,
    /// The version of the policies that judged.
    pub policies: String,
    /// The latest fact of any lead forgotten. Rule F10.
    pub forgotten_until: Option<Instant>,
    /// How keys are found to be partitioned.
    pub partitioner: Option<String>,
}

/// How far one input topic was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its name.
    pub topic: String,
    /// Its id, where the cluster gives one.
    pub id: Option<String>,
    /// The next record to read.
    pub position: Position,
    /// Below this every record was read once before the log lost some of them: what was settled by then is
    /// not rejected again as too late.
    #[serde(default)]
    pub read_before: i64,
}

/// Records were lost before they were read. Written with the offsets that skip them. Rule H6.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapRecord {
    /// When that was found.
    pub at: Instant,
    /// What is dated at or before this was known before; none where nothing was.
    pub proven_until: Option<Instant>,
    /// The logs that lost records.
    pub losses: Vec<Loss>,
}

/// What one log lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The input topic.
    pub topic: String,
    /// The next record to be read before.
    pub from: i64,
    /// The next record to be read since.
    pub to: i64,
    /// How it was found.
    pub why: String,
}

impl GapRecord {
    /// What the engine needs to know of it.
    pub fn gap(&self) -> Gap {
        Gap { at: self.at, proven_until: self.proven_until.unwrap_or(Instant::MIN) }
    }
}

/// What a record says.
#[derive(Debug)]
pub enum Entry<'a> {
    /// A lead is so, or is forgotten.
    Lead(&'a str, Option<Box<Lead>>),
    /// Records were lost.
    Gap(Box<GapRecord>),
    /// The partition's progress.
    Progress(Box<Progress>),
}

/// The key of the progress record.
pub const PROGRESS_KEY: &[u8] = b"P";

/// Writes a lead's key.
pub fn lead_key(lead_id: &str, into: &mut Vec<u8>) {
    into.clear();
    into.push(b'L');
    into.extend_from_slice(lead_id.as_bytes());
}

/// A gap's key: there is one of each moment.
pub fn gap_key(gap: &GapRecord) -> Vec<u8> {
    format!("G{}", gap.at.millis()).into_bytes()
}

/// Writes a gap.
pub fn gap_value(gap: &GapRecord) -> Result<Vec<u8>, Unreadable> {
    serde_json::to_vec(gap).map_err(|error| Unreadable(error.to_string()))
}

/// Writes a lead's value.
pub fn lead_value(lead: &Lead, into: &mut Vec<u8>) -> Result<(), Unreadable> {
    into.clear();
    into.push(FORMAT);
    postcard::to_io(lead, &mut *into).map_err(|error| Unreadable(error.to_string()))?;
    Ok(())
}

/// Writes the progress.
pub fn progress_value(progress: &Progress) -> Result<Vec<u8>, Unreadable> {
    serde_json::to_vec(progress).map_err(|error| Unreadable(error.to_string()))
}

/// The format number of what this version writes.
pub const fn format() -> u8 {
    FORMAT
}

/// Reads a record.
pub fn read<'a>(key: Option<&'a [u8]>, value: Option<&[u8]>) -> Result<Entry<'a>, Unreadable> {
    let unreadable = |why: &str| Unreadable(why.to_owned());
    match (key, value) {
        (Some(PROGRESS_KEY), Some(value)) => {
            let progress: Progress =
                serde_json::from_slice(value).map_err(|error| Unreadable(error.to_string()))?;
            if progress.format != FORMAT {
                return Err(Unreadable(format!("format {} is not {FORMAT}", progress.format)));
            }
            Ok(Entry::Progress(Box::new(progress)))
        }
        (Some([b'G', ..]), Some(value)) => {
            let gap = serde_json::from_slice(value).map_err(|error| Unreadable(error.to_string()))?;
            Ok(Entry::Gap(gap))
        }
        (Some([b'L', lead_id @ ..]), value) => {
            let lead_id =
                std::str::from_utf8(lead_id).map_err(|_| unreadable("a lead id that is not UTF-8"))?;
            let lead = value.map(read_lead).transpose()?;
            Ok(Entry::Lead(lead_id, lead.map(Box::new)))
        }
        _ => Err(unreadable("an unknown key")),
    }
}

fn read_lead(value: &[u8]) -> Result<Lead, Unreadable> {
    match value.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|error| Unreadable(error.to_string())),
        Some((format, _)) => Err(Unreadable(format!("format {format} is not {FORMAT}"))),
        None => Err(Unreadable("an empty value".to_owned())),
    }
}
