//! The report for people.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use super::report::{Report, Shown};
use crate::verify::finding::Excuse;

/// Lays a report out, with the first so many findings.
pub fn table(report: &Report, findings_max: usize, is_terminal: bool) -> String {
    let mut text = format!("{}\n\n{}\n", topics(report, is_terminal), counts(report, is_terminal));
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}", summary(report));
    for (excuse, count) in &report.not_checkable {
        let _ = writeln!(text, "{count} not checkable: {}", Excuse::as_str(*excuse));
    }
    for (version, count) in &report.other_policies {
        let _ = writeln!(text, "{count} outputs were written under policies of version `{version}`");
    }
    let shown = report.findings.len().min(findings_max);
    if 0 < shown {
        let _ = writeln!(text, "\n{}", findings(&report.findings[..shown], is_terminal));
    }
    if shown < report.findings.len() {
        let _ = writeln!(text, "and {} more; `--findings` shows them", report.findings.len() - shown);
    }
    text
}

fn topics(report: &Report, is_terminal: bool) -> String {
    let mut table = new_table(is_terminal, &["topic", "what", "partitions", "offsets read", "deleted"]);
    for topic in &report.topics {
        let partitions = topic.partitions.len();
        table.add_row([
            Cell::new(&topic.topic),
            Cell::new(topic.role),
            Cell::new(partitions),
            Cell::new(topic.offsets()),
            Cell::new(topic.deleted()),
        ]);
    }
    right_from(&mut table, 2);
    table.trim_fmt()
}

fn counts(report: &Report, is_terminal: bool) -> String {
    let mut table = new_table(is_terminal, &["finding", "count"]);
    table.add_row([Cell::new("as it should be"), Cell::new(report.matched)]);
    for (kind, count) in &report.counts {
        let cell = Cell::new(count);
        let cell = if 0 < *count { cell.fg(Color::Red) } else { cell };
        table.add_row([Cell::new(kind.as_str().replace('_', " ")), cell]);
    }
    let excused: u64 = report.not_checkable.values().sum();
    table.add_row([Cell::new("not checkable"), Cell::new(excused)]);
    right_from(&mut table, 1);
    table.trim_fmt()
}

fn summary(report: &Report) -> String {
    let rejected: u64 = report.rejected.values().sum();
    format!(
        "{} records of {} leads, {rejected} of them rejected, and {} outputs, judged until {}",
        report.events, report.leads, report.said, report.judged_until
    )
}

fn findings(findings: &[Shown], is_terminal: bool) -> String {
    let header = ["finding", "lead", "objective", "started", "transition", "date", "id", "record", "what"];
    let mut table = new_table(is_terminal, &header);
    for finding in findings {
        let instant = |at: Option<crate::sla::instant::Instant>| at.map(|at| at.to_string());
        table.add_row(
            [
                Some(finding.kind.as_str().replace('_', " ")),
                finding.lead_id.clone(),
                finding.objective.clone(),
                instant(finding.started_at),
                finding.transition.map(str::to_owned),
                instant(finding.date),
                finding.id.map(|id| id.to_string()),
                finding.at.as_ref().map(ToString::to_string),
                Some(what(finding)).filter(|what| !what.is_empty()),
            ]
            .map(|cell| cell.unwrap_or_else(|| "-".to_owned())),
        );
    }
    table.trim_fmt()
}

fn what(finding: &Shown) -> String {
    let differences = finding.differences.iter();
    let mut parts: Vec<_> =
        differences.map(|d| format!("{} is {}, recomputed {}", d.field, d.said, d.recomputed)).collect();
    parts.extend((!finding.detail.is_empty()).then(|| finding.detail.clone()));
    parts.join("; ")
}

fn new_table(is_terminal: bool, header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(if is_terminal { presets::UTF8_FULL_CONDENSED } else { presets::NOTHING });
    table.set_content_arrangement(match is_terminal {
        true => ContentArrangement::Dynamic,
        false => ContentArrangement::Disabled,
    });
    if is_terminal {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(header);
    table
}

fn right_from(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
