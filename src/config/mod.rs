//! Configuration in two kinds: as written, trees that know their lines, and as checked.
//!
//! Every problem is gathered and shown with its file, line and column. Nothing here talks to Kafka.

mod checked;
mod cursor;
mod duration;
mod policies;
mod problem;
mod secret;
mod settings;
mod shown;
mod tree;
pub mod words;

pub(crate) use cursor::{Cursor, Fields};
pub(crate) use problem::{Report, did_you_mean, listed};
pub(crate) use settings::read_text;
pub(crate) use tree::{Kind, Node, Value, parse};

pub use checked::{
    Config, Http, Input, Kafka, KeyedBy, Output, Partitioner, PolicyFile, Properties, Retention,
    UnknownTypes, load, load_policies,
};
pub use duration::{setting_ms, written as written_target};
pub use policies::{Files, Folder, lints, read_policies, read_policies_with};
pub use problem::{Problem, Problems};
pub use secret::{Secret, redacted};
pub use settings::Sources;
pub use shown::shown;
