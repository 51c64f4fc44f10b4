//! Tries policies out on stories of leads, on a clock that exists in the story only.
//!
//! A file of tests says what happens to a lead and what policies are expected to make of it. The engine is the
//! service's own, and nothing here reads a clock, so a test gives the same today and in ten years.

mod coverage;
mod event;
mod expected;
mod junit;
mod outcome;
mod read;
mod shown;

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::PolicyFile;
use crate::sla::fact::Fact;
use crate::sla::instant::Instant;

pub use coverage::{Coverage, Covered};
pub use expected::{Expected, Misfit};
pub use junit::junit;
pub use outcome::{Failed, Outcome, run};
pub use read::read;
pub use shown::{Tried, json, shown};

/// Tests of one file of policies.
#[derive(Debug, Clone)]
pub struct TestFile {
    /// Where they are.
    pub path: PathBuf,
    /// What they try.
    pub policies: Arc<PolicyFile>,
    /// The tests, in the order of the file.
    pub tests: Vec<Test>,
}

/// One story, and what is expected of it.
#[derive(Debug, Clone)]
pub struct Test {
    /// What it says.
    pub name: String,
    /// Where it begins, as `file:line`.
    pub at: String,
    /// What happens, as the fields of the events say it.
    pub facts: Vec<Fact>,
    /// Everything until then is judged.
    pub until: Instant,
    /// Each must come about.
    pub expect: Vec<Expected>,
    /// None may come about.
    pub never: Vec<Expected>,
}

/// The lead that every test is about.
pub const LEAD: &str = "lead";
