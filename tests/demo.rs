//! The first thing a visitor runs: `overdue demo`, as it is.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn the_demo_says_what_was_broken() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_overdue"))
        .args(["demo", "--seconds", "60", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a demo");
    let said = BufReader::new(demo.stdout.take().expect("its output")).lines().map_while(Result::ok);
    // Ends with the first, or with the demo.
    let first = said.into_iter().find(|line| line.contains("  breached  lead-"));
    demo.kill().expect("an end");
    demo.wait().expect("an end");
    assert!(first.is_some(), "nothing was said to be broken within a minute");
}
