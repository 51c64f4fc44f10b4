//! A lead as files of events tell of it.

use std::path::PathBuf;
use std::sync::Arc;

use super::gather::Gathered;
use crate::explain::{Explanation, Origin};
use crate::replay::{Error, Inputs};
use crate::sla::instant::Instant;
use crate::sla::policy::Policies;
use crate::sla::rules::Rules;
use crate::sla::store::RejectedAt;

/// Explains a lead; without `at` as of the latest event of any lead that is not dated after `now`. Rule H7.
pub(super) fn explain(
    lead_id: &str,
    policies: Arc<Policies>,
    paths: &[PathBuf],
    at: Option<Instant>,
    now: Instant,
) -> Result<Option<Explanation>, Error> {
    let mut inputs = Inputs::open(paths)?;
    let names = inputs.names();
    let (mut gathered, mut latest) = (Gathered::default(), None);
    while let Some(line) = inputs.next()? {
        match line.event {
            Ok(event) => {
                latest = latest.max(Some(event.fact.time).filter(|time| *time <= now));
                if event.lead_id == lead_id {
                    gathered.take(event.fact);
                }
            }
            Err(rejected) if rejected.lead_id.as_deref() == Some(lead_id) => gathered.reject(RejectedAt {
                recorded_at: None,
                topic: line.file,
                partition: 0,
                offset: line.number as i64,
            }),
            Err(_) => {}
        }
    }
    let origin = Origin { names: &names, partition: None, is_service: false };
    let until = at.or(latest).unwrap_or(now);
    Ok(gathered.explain(lead_id, &Arc::new(Rules::new(policies)), until, origin))
}
