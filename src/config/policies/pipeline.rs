//! Reads the stages a lead moves through.

use std::collections::BTreeMap;

use crate::config::cursor::Cursor;
use crate::sla::policy::Pipeline;

/// Reads `pipeline`; a stage is in one list, once.
pub(super) fn read(pipeline: &Cursor<'_>) -> Option<Pipeline> {
    let fields = pipeline.fields(&["open", "won", "lost"], &[])?;
    let mut known = BTreeMap::new();
    let mut stages = |name: &str| match fields.get(name) {
        Some(list) => {
            let read: Vec<_> = list.items_or_one().iter().map(|item| stage(item, &mut known)).collect();
            read.into_iter().collect()
        }
        None => Some(Vec::new()),
    };
    let (open, won, lost) = (stages("open"), stages("won"), stages("lost"));
    Some(Pipeline { open: open?, won: won?, lost: lost? })
}

fn stage<'a>(item: &Cursor<'a>, known: &mut BTreeMap<&'a str, String>) -> Option<String> {
    let stage = item.text()?;
    match known.insert(stage, item.path.clone()) {
        Some(earlier) => item.refuse(format!("`{stage}` is {earlier} already")),
        None => Some(stage.to_string()),
    }
}
