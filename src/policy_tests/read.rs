//! Files of tests: text to tests that cannot be wrong in themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::event::{self, Story};
use super::expected::{self, Names};
use super::{Test, TestFile};
use crate::config::{Cursor, PolicyFile, Problems, Report, load_policies, parse, read_text};
use crate::sla::instant::Instant;

const FILE_FIELDS: &[&str] = &["policies", "tests"];
const TEST_FIELDS: &[&str] = &["name", "lead", "events", "until", "expect", "never"];

/// Reads a file of tests and the policies it names, or others. The errors are all its problems, or those of the
/// policies.
pub fn read(path: &Path, policies: Option<&Path>) -> Result<TestFile, Problems> {
    let name = path.display().to_string();
    let text = read_text(path).map_err(|message| Problems::one(&name, message))?;
    let report = Report::default();
    let origin = report.file(&name, &text);
    let tree = parse(&report, origin, &text);
    let Some(root) = tree.as_ref().map(|root| Cursor::root(root, &report)) else {
        return report.finish(None);
    };
    let found = match policies {
        Some(path) => Some(path.to_owned()),
        None => policies_of(&root, path),
    };
    let Some(found) = found else { return report.finish(None) };
    let policies = Arc::new(load_policies(found)?);
    let tests = tests(&root, &policies);
    report.finish(tests.map(|tests| TestFile { path: path.to_owned(), policies, tests }))
}

/// The policies that the file names, relative to its folder.
fn policies_of(root: &Cursor<'_>, path: &Path) -> Option<PathBuf> {
    let fields = root.fields(FILE_FIELDS, &[])?;
    let Some(policies) = fields.get("policies") else {
        return root.refuse("needs `policies`, the file of policies that is tried, or the flag `--policies`");
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    policies.text().map(|name| folder.join(name))
}

fn tests(root: &Cursor<'_>, policies: &PolicyFile) -> Option<Vec<Test>> {
    let fields = root.fields(FILE_FIELDS, &[])?;
    let Some(tests) = fields.get("tests") else { return root.refuse("needs `tests`") };
    let items = tests.items()?;
    if items.is_empty() {
        return tests.refuse("must hold a test");
    }
    let names = Names::of(&policies.policies);
    // Every test is read, so that each says what is wrong with it.
    let read: Vec<_> = items.iter().map(|item| test(item, &names)).collect();
    let read: Vec<Test> = read.into_iter().collect::<Option<_>>()?;
    for (index, item) in items.iter().enumerate() {
        if let Some(first) = read[..index].iter().position(|other| other.name == read[index].name) {
            item.problem(format!("`{}` is the name of tests[{first}] already", read[index].name));
        }
    }
    Some(read)
}

fn test(item: &Cursor<'_>, names: &Names<'_>) -> Option<Test> {
    let fields = item.fields(TEST_FIELDS, &[])?;
    let name = match fields.get("name") {
        Some(name) => name.text(),
        None => item.refuse("needs `name`"),
    };
    let story = event::story(item, &fields);
    // Without a story the rest is read for its problems.
    let first = story.as_ref().map_or(Instant::from_millis(0), |story| story.first);
    let many = |name: &str, is_never: bool| match fields.get(name) {
        Some(list) => expected::list(list, first, names, is_never),
        None => Some(Vec::new()),
    };
    let (expect, never) = (many("expect", false), many("never", true));
    let until = match fields.get("until") {
        Some(until) => event::when(until, Some(first)),
        None => item.refuse("needs `until`, when the story ends, such as `+2h`"),
    };
    let (Story { facts, .. }, expect, never, until) = (story?, expect?, never?, until?);
    if let Some(late) = expect.iter().find(|expected| expected.at.is_some_and(|at| until < at)) {
        fields
            .get("expect")
            .unwrap_or(item)
            .problem(format!("`{}` is after `until`", late.said(chrono_tz::Tz::UTC)));
    }
    let at = item.report.written_at(item.node.at);
    Some(Test { name: name?.to_owned(), at, facts, until, expect, never })
}
