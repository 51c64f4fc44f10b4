//! What the demo shows: what just breached, and what is about to.

use std::collections::VecDeque;
use std::io::{self, Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use console::Term;
use serde_json::Value;

use crate::runtime::shared::Upcoming;
use crate::sla::instant::Instant;

/// Most rows of each table.
pub const ROWS_MAX: usize = 12;
/// Lines of the screen that are no rows of a table.
const OTHER_LINES: usize = 16;

/// A breach or what followed it, read back from the breach topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What was said.
    pub transition: String,
    /// The transition's date.
    pub time: String,
    /// The lead.
    pub lead_id: String,
    /// Policy and objective.
    pub promise: String,
    /// Who had the lead.
    pub owner: String,
    /// How long after the promise lapsed it was written, in milliseconds.
    pub after_ms: i64,
}

impl Said {
    /// Reads a record of the breach topic.
    pub fn read(value: &[u8]) -> Option<Said> {
        let event: Value = serde_json::from_slice(value).ok()?;
        let data = event.get("data")?;
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let (time, recorded) = (text(&event, "time")?, text(&event, "recordedtime")?);
        let policy = data.get("policy").and_then(|policy| text(policy, "name"))?;
        Some(Said {
            transition: text(data, "transition")?,
            lead_id: text(data, "lead_id")?,
            promise: format!("{policy} / {}", text(data, "objective")?),
            owner: text(data, "owner").unwrap_or_default(),
            after_ms: Instant::parse(&recorded)?.since(Instant::parse(&time)?),
            time,
        })
    }
}

/// A screen that is drawn over and over on a terminal; elsewhere, a line for each thing said.
pub struct Screen {
    term: Term,
    latest: VecDeque<Said>,
    breached: u64,
    drawn_lines: usize,
    rows: usize,
}

impl Screen {
    /// A screen under these lines.
    pub fn new(header: Vec<String>) -> io::Result<Screen> {
        let term = Term::stdout();
        for line in &header {
            term.write_line(line)?;
        }
        let rows = (usize::from(term.size().0).saturating_sub(OTHER_LINES) / 2).clamp(3, ROWS_MAX);
        Ok(Screen { term, latest: VecDeque::new(), breached: 0, drawn_lines: 0, rows })
    }

    /// How many breaches it has seen.
    pub fn breached(&self) -> u64 {
        self.breached
    }

    /// Takes what was said.
    pub fn say(&mut self, said: Said) -> io::Result<()> {
        self.breached += u64::from(said.transition == "breached");
        if !self.term.is_term() {
            let Said { time, transition, lead_id, promise, owner, after_ms } = &said;
            return writeln!(
                io::stdout(),
                "{time}  {transition:<9} {lead_id}  {promise}  {owner}  said {after_ms} ms after"
            );
        }
        self.latest.push_front(said);
        self.latest.truncate(self.rows);
        Ok(())
    }

    /// Draws everything anew.
    pub fn draw(&mut self, upcoming: &[Upcoming], leads: u64, now: Instant) -> io::Result<()> {
        if !self.term.is_term() {
            return Ok(());
        }
        let breached = self.breached_table();
        let upcoming = upcoming_table(upcoming, now, self.rows);
        let text = format!(
            "{leads} leads so far, {} promises broken\n\nJUST BROKEN, as read back from the breach topic\n{breached}\n\n\
             ABOUT TO BREAK, unless somebody calls\n{upcoming}\n",
            self.breached
        );
        self.term.clear_last_lines(self.drawn_lines)?;
        self.term.write_str(&text)?;
        self.drawn_lines = text.lines().count();
        self.term.flush()
    }

    fn breached_table(&self) -> Table {
        let mut table = table(&["time (UTC)", "what", "lead", "promise", "owner", "said after"]);
        for said in &self.latest {
            let color = match said.transition.as_str() {
                "breached" => Color::Red,
                "retracted" => Color::Yellow,
                _ => Color::Grey,
            };
            table.add_row([
                Cell::new(said.time.get(11..23).unwrap_or(&said.time)),
                Cell::new(&said.transition).fg(color),
                Cell::new(&said.lead_id),
                Cell::new(&said.promise),
                Cell::new(&said.owner),
                Cell::new(format!("{} ms", said.after_ms)),
            ]);
        }
        pad(&mut table, self.rows - self.latest.len(), 6);
        table
    }
}

fn upcoming_table(upcoming: &[Upcoming], now: Instant, rows: usize) -> Table {
    let mut table = table(&["due in", "lead", "promise", "owner", "stage"]);
    let ahead = upcoming.iter().filter(|clock| now <= clock.due_at).take(rows);
    let mut count = 0;
    for clock in ahead {
        count += 1;
        table.add_row([
            format!("{:.1} s", clock.due_at.since(now) as f64 / 1000.0),
            clock.lead_id.to_string(),
            format!("{} / {}", clock.policy, clock.objective),
            clock.context.owner.as_deref().unwrap_or_default().to_owned(),
            clock.context.stage.as_deref().unwrap_or_default().to_owned(),
        ]);
    }
    pad(&mut table, rows - count, 5);
    table
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    table
}

/// Empty rows, so that the screen does not jump while it fills.
fn pad(table: &mut Table, rows: usize, columns: usize) {
    for _ in 0..rows {
        table.add_row(vec![""; columns]);
    }
}
