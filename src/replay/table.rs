//! The report for people.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use super::figures::Row;
use super::report::Report;

/// Lays a report out. On a terminal lines are drawn and goals that were missed are red.
pub fn table(report: &Report, is_terminal: bool) -> String {
    let mut table = Table::new();
    table.load_style(if is_terminal { presets::UTF8_FULL_CONDENSED } else { presets::NOTHING });
    table.set_content_arrangement(if is_terminal {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    });
    if is_terminal {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(HEADER);
    for row in &report.objectives {
        table.add_row(cells(row));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{}\n{}", table.trim_fmt(), summary(report))
}

const HEADER: [&str; 15] = [
    "policy",
    "objective",
    "clocks",
    "met",
    "breached",
    "resolved",
    "ended",
    "waived",
    "cancelled",
    "open",
    "attained",
    "goal",
    "p50",
    "p90",
    "p99",
];

fn cells(row: &Row) -> Vec<Cell> {
    let percentile = |of: fn(&super::figures::Percentiles) -> u64| {
        row.response_ms.as_ref().map_or_else(none, |percentiles| duration(of(percentiles), row.counts))
    };
    let is_missed = matches!((row.attainment, row.attainment_goal), (Some(is), Some(goal)) if is < goal);
    let attained = Cell::new(row.attainment.map_or_else(none, percent));
    let mut cells = vec![Cell::new(&row.policy), Cell::new(&row.objective)];
    let counts =
        [row.clocks, row.met, row.breached, row.resolved, row.ended, row.waived, row.cancelled, row.open];
    cells.extend(counts.map(Cell::new));
    cells.push(if is_missed { attained.fg(Color::Red) } else { attained });
    cells.push(Cell::new(row.attainment_goal.map_or_else(none, percent)));
    cells.extend([percentile(|p| p.p50), percentile(|p| p.p90), percentile(|p| p.p99)].map(Cell::new));
    cells
}

fn none() -> String {
    "-".to_owned()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// The two largest units of a duration; a day of open time is no day.
fn duration(ms: u64, counts: &str) -> String {
    let (s, m, h) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", s, ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m {:02}s", m, s % 60),
        _ if counts == "open" || ms < 86_400_000 => format!("{}h {:02}m", h, m % 60),
        _ => format!("{}d {:02}h", h / 24, h % 24),
    }
}

fn summary(report: &Report) -> String {
    let mut text = format!("{} events of {} leads", report.events, report.leads);
    let order = if report.in_order { "in the order of time" } else { "not in the order of time" };
    text.push_str(&match report.until {
        Some(until) => format!(", {order}, judged until {until}\n"),
        None => ", none of which counts\n".to_owned(),
    });
    for (count, what) in [
        (report.duplicates, "known already"),
        (report.conflicting, "known already with other content"),
        (report.left_out, "dated later and left out"),
    ] {
        if count > 0 {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{count} {what}");
        }
    }
    for (currency, amount) in &report.penalty {
        let _ = writeln!(text, "{amount} {currency} of penalties");
    }
    for (reason, count) in &report.rejected_by_reason {
        let _ = writeln!(text, "{count} rejected: {reason}");
    }
    text
}
