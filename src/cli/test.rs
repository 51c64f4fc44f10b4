//! `overdue test`: tries policies out on stories of leads.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::Failure;
use crate::config::Problems;
use crate::policy_tests::{self, Coverage, TestFile, Tried};
use crate::sla::rules::Rules;

/// Try policies out on stories of leads
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Try policies out on stories of leads, on a clock that exists in the story only.\n\n\
        A test says what happens to a lead, until when, what policies are expected to make of it, and what never \
        comes about. A breach that no test expects fails it. A failure shows the lead's timeline.",
    after_help = "Exit codes: 0 all passed, 1 some failed, or --coverage-required and something is not tried, \
        2 something could not be read or written, 78 tests or policies are refused.\n\n\
        Examples:\n  \
        overdue test                                     config/policies.test.yaml, or *.test.yaml here\n  \
        overdue test config/policies.test.yaml --filter chat\n  \
        overdue test --policies next.yaml old.test.yaml  other policies, the same stories\n  \
        overdue test --format junit --output tests.xml --coverage-required"
)]
pub struct Args {
    /// Files of tests [default: config/policies.test.yaml, else *.test.yaml; with --policies those beside it]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Policies to try instead of those that the tests name
    #[arg(short, long, value_name = "FILE")]
    policies: Option<PathBuf>,
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// An objective that no test starts, or none breaches, makes the exit code 1
    #[arg(long, conflicts_with = "filter")]
    coverage_required: bool,
    /// How results are written
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    format: Format,
    /// Where results are written [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// JUnit's XML, for whoever shows tests.
    Junit,
}

/// What the tests of a team are called.
const TESTS_END: &str = ".test.yaml";
const TESTS: &str = "config/policies.test.yaml";

/// Runs the command; failures make the exit code 1.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let files = args.read()?;
    let tried = args.tried(&files);
    if tried.iter().all(|file| file.results.is_empty()) {
        let filter = args.filter.as_deref().unwrap_or_default();
        return Err(Failure::Failed(format!("no test has a name that contains `{filter}`")));
    }
    // Of some tests only it would say nothing.
    let coverage = if args.filter.is_some() { Vec::new() } else { coverage(&tried) };
    args.write(&tried, &coverage)?;
    let is_untried = args.coverage_required && !coverage.iter().all(Coverage::is_full);
    let has_failed = tried.iter().any(|file| file.failed() > 0);
    Ok(if has_failed || is_untried { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Args {
    /// Reads every file; the errors are the problems of all.
    fn read(&self) -> Result<Vec<TestFile>, Failure> {
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for path in self.paths()? {
            match policy_tests::read(&path, self.policies.as_deref()) {
                Ok(file) => files.push(file),
                Err(Problems(found)) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(files) } else { Err(Problems(problems).into()) }
    }

    fn paths(&self) -> Result<Vec<PathBuf>, Failure> {
        if !self.files.is_empty() {
            return Ok(self.files.clone());
        }
        let folder = match &self.policies {
            Some(policies) => policies.parent().map(Path::to_owned).unwrap_or_default(),
            None if Path::new(TESTS).exists() => return Ok(vec![PathBuf::from(TESTS)]),
            None => PathBuf::new(),
        };
        let found = tests_in(&folder).unwrap_or_default();
        match found.is_empty() {
            false => Ok(found),
            true => {
                Err(Failure::Failed(format!("no file of tests was named, and there is no `*{TESTS_END}`")))
            }
        }
    }

    fn tried<'a>(&self, files: &'a [TestFile]) -> Vec<Tried<'a>> {
        let is_wanted = |name: &str| self.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
        let tried = |file: &'a TestFile| {
            let rules = Arc::new(Rules::new(Arc::new(file.policies.policies.clone())));
            let wanted = file.tests.iter().filter(|test| is_wanted(&test.name));
            Tried { file, results: wanted.map(|test| (test, policy_tests::run(&rules, test))).collect() }
        };
        files.iter().map(tried).collect()
    }

    fn write(&self, tried: &[Tried<'_>], coverage: &[Coverage]) -> Result<(), Failure> {
        let failed = |error: String| Failure::Failed(error);
        let has_colour = self.output.is_none() && io::stdout().is_terminal();
        let text = match self.format {
            Format::Text => policy_tests::shown(tried, coverage, has_colour),
            Format::Json => format!("{:#}\n", policy_tests::json(tried, coverage)),
            Format::Junit => policy_tests::junit(tried).map_err(|error| failed(error.to_string()))?,
        };
        match &self.output {
            Some(path) => {
                let said = |error| failed(format!("cannot write `{}`: {error}", path.display()));
                fs::write(path, text).map_err(said)
            }
            None => print(&text),
        }
    }
}

/// Prints; nobody needs to read to the end.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::NobodyReads),
        done => done.map_err(|error| Failure::Failed(format!("cannot write: {error}"))),
    }
}

/// The files of tests in a folder, by name.
fn tests_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let names = fs::read_dir(here)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<_> = names.filter(|name| name.ends_with(TESTS_END)).collect();
    found.sort();
    Ok(found.into_iter().map(|name| folder.join(name)).collect())
}

/// What the tests try, by file of policies.
fn coverage(tried: &[Tried<'_>]) -> Vec<Coverage> {
    let mut by_policies = BTreeMap::<PathBuf, Vec<&Tried<'_>>>::new();
    for file in tried {
        let path = &file.file.policies.path;
        let same = path.canonicalize().unwrap_or_else(|_| path.clone());
        by_policies.entry(same).or_default().push(file);
    }
    let of = |files: &Vec<&Tried<'_>>| {
        let first = &files.first()?.file.policies;
        let outcomes = files.iter().flat_map(|file| file.results.iter().map(|(_, outcome)| outcome));
        Some(Coverage::of(first.path.display().to_string(), &first.policies, outcomes))
    };
    by_policies.values().filter_map(of).collect()
}
