//! Results as JUnit's XML, for whoever shows tests.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::shown::{Tried, failure};
use super::{Outcome, Test};

/// The results as XML: a suite a file, a case a test. Without times, which would be the machine's.
pub fn junit(files: &[Tried<'_>]) -> io::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let tests: usize = files.iter().map(|file| file.results.len()).sum();
    let failed: usize = files.iter().map(Tried::failed).sum();
    let all = writer.create_element("testsuites").with_attribute(("name", "overdue test"));
    all.with_attributes(counts(tests, failed).iter().map(|(name, count)| (*name, count.as_str())))
        .write_inner_content(|writer| files.iter().try_for_each(|file| suite(writer, file)))?;
    writer.get_mut().push(b'\n');
    String::from_utf8(writer.into_inner()).map_err(io::Error::other)
}

fn counts(tests: usize, failed: usize) -> [(&'static str, String); 4] {
    let none = || "0".to_owned();
    [("tests", tests.to_string()), ("failures", failed.to_string()), ("errors", none()), ("skipped", none())]
}

fn suite(writer: &mut Writer<Vec<u8>>, file: &Tried<'_>) -> io::Result<()> {
    let name = visible(&file.file.path.display().to_string());
    let counts = counts(file.results.len(), file.failed());
    let suite = writer.create_element("testsuite").with_attribute(("name", name.as_str()));
    suite.with_attributes(counts.iter().map(|(name, count)| (*name, count.as_str()))).write_inner_content(
        |writer| file.results.iter().try_for_each(|(test, outcome)| case(writer, &name, test, outcome)),
    )?;
    Ok(())
}

fn case(writer: &mut Writer<Vec<u8>>, class: &str, test: &Test, outcome: &Outcome) -> io::Result<()> {
    let name = visible(&test.name);
    let case = writer
        .create_element("testcase")
        .with_attribute(("name", name.as_str()))
        .with_attribute(("classname", class));
    let Some(first) = outcome.failures.first() else {
        case.write_empty()?;
        return Ok(());
    };
    let (message, text) = (visible(&first.what), visible(&failure(test, outcome)));
    case.write_inner_content(|writer| {
        let failure = writer.create_element("failure").with_attribute(("message", message.as_str()));
        failure.with_attribute(("type", "expectation")).write_text_content(BytesText::new(&text))?;
        Ok(())
    })?;
    Ok(())
}

/// The text with what XML cannot hold made visible.
fn visible(text: &str) -> String {
    let is_held = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    let is_none = |c: char| matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if is_held(c) && !is_none(c) { c } else { '\u{fffd}' }).collect()
}
