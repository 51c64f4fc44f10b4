//! What the Markdown pages show at a prompt is what the binary says.
//!
//! In a block fenced as `console`, every `$ overdue …` is run at the top of the checkout. The lines after it
//! are its output, where `...` stands for anything, and `? 78` its exit code where that is not 0. Commands of
//! other programs are left alone.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TOP: &str = env!("CARGO_MANIFEST_DIR");
const BINARY: &str = env!("CARGO_BIN_EXE_overdue");

#[derive(Debug, Default, PartialEq, Eq)]
struct Example {
    command: String,
    output: String,
    code: i32,
}

#[test]
fn pages_show_what_the_binary_says() {
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for example in examples(&text).iter().filter(|example| example.command.starts_with("overdue ")) {
            check(&page, example);
        }
    }
}

#[test]
fn a_block_is_read_as_commands_with_output_and_code() {
    let page =
        "```console\n$ overdue check\nall good\n$ overdue check bad\n? 78\n```\ntext\n```\n$ no\n```\n";
    let example =
        |command: &str, output: &str, code| Example { command: command.into(), output: output.into(), code };
    assert_eq!(
        examples(page),
        [example("overdue check", "all good\n", 0), example("overdue check bad", "", 78)]
    );
}

#[test]
fn dots_stand_for_anything() {
    assert!(matches("a\n...\nz\n", "a\nb\nc\nz\n"));
    assert!(matches("took ... ms\n", "took 12 ms\n"));
    assert!(matches("took ...", "took 12 ms\nmore\n"));
    assert!(!matches("a\nz\n", "a\nb\nz\n"));
    assert!(!matches("took ... ms\n", "took 12 s\n"));
}

/// Returns the pages at the top of the checkout and in `docs`.
fn pages() -> Vec<PathBuf> {
    let folders = [Path::new(TOP).to_owned(), Path::new(TOP).join("docs")];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut in_block = false;
    for line in page.lines() {
        match line.strip_prefix("$ ") {
            _ if line.starts_with("```") => in_block = line == "```console",
            _ if !in_block => {}
            Some(command) => examples.push(Example { command: command.into(), ..Example::default() }),
            None => examples.last_mut().into_iter().for_each(|example| example.expect_line(line)),
        }
    }
    examples
}

impl Example {
    fn expect_line(&mut self, line: &str) {
        match line.strip_prefix("? ").and_then(|code| code.parse().ok()) {
            Some(code) => self.code = code,
            None => self.output += &format!("{line}\n"),
        }
    }
}

fn check(page: &Path, example: &Example) {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec 2>&1; {}", example.command)]).current_dir(TOP).env("PATH", path());
    let ran = shell.stdin(Stdio::null()).output().expect("a shell");
    let output = String::from_utf8_lossy(&ran.stdout);
    let (page, command) = (page.display(), &example.command);
    assert_eq!(ran.status.code(), Some(example.code), "{page}: `{command}` said:\n{output}");
    assert!(
        matches(&example.output, &output),
        "{page}: `{command}` said:\n{output}\nnot:\n{}",
        example.output
    );
}

fn path() -> OsString {
    let folder = Path::new(BINARY).parent().expect("the folder of the binary").to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&others))).expect("a search path")
}

/// Compares by the parts between the dots, each found after the one before; ends of lines and pages aside.
fn matches(expected: &str, output: &str) -> bool {
    let tidy =
        |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned();
    let (expected, output) = (tidy(expected), tidy(output));
    let parts: Vec<_> = expected.split("...").collect();
    let [first, middle @ .., last] = parts.as_slice() else { return expected == output };
    let rest = middle.iter().try_fold(output.strip_prefix(*first), |rest, part| {
        Some(rest.and_then(|rest| rest.split_once(*part).map(|(_, after)| after)))
    });
    rest.flatten().is_some_and(|rest| rest.ends_with(last))
}
