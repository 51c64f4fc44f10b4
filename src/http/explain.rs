//! `/api/v1/leads/{id}/explain`: why a lead is, or is not, in breach, as the workers know it.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Asked, STARTING};
use crate::runtime::desk::Answer;
use crate::runtime::port::Partition;
use crate::runtime::shared::Shared;

/// A worker answers between two turns; none of them takes so long unless a broker holds it up.
const WORKER_WITHIN: Duration = Duration::from_secs(5);

/// What the workers know of a lead all together.
#[derive(Debug, Default)]
struct Heard {
    answers: Vec<Answer>,
    /// Whether some did not say.
    is_partial: bool,
}

pub(super) async fn explain(State(asked): State<Asked>, Path(lead_id): Path<String>) -> Response {
    let Some(shared) = asked.shared.get() else { return unavailable(STARTING) };
    let mut heard = hear(shared, &lead_id).await;
    let found = heard.answers.iter_mut().find_map(|answer| answer.found.take());
    let Some(found) = found else { return heard.not_found(shared, &lead_id) };
    let topics: Vec<_> = shared.topics.iter().map(|topic| topic.name.clone()).collect();
    let explained = tokio::task::spawn_blocking(move || {
        found.explain(&topics).and_then(|explanation| serde_json::to_string(&explanation).ok())
    });
    match explained.await {
        Ok(Some(json)) => ([(header::CONTENT_TYPE, "application/json")], json + "\n").into_response(),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "the lead cannot be explained\n").into_response(),
    }
}

async fn hear(shared: &Shared, lead_id: &str) -> Heard {
    let mut heard = Heard::default();
    for told in shared.desk.ask(lead_id) {
        let Some(told) = told else {
            heard.is_partial = true;
            continue;
        };
        match tokio::time::timeout(WORKER_WITHIN, told).await {
            Ok(Ok(answer)) => heard.answers.push(answer),
            _ => heard.is_partial = true,
        }
    }
    heard
}

impl Heard {
    /// Why nothing can be said of a lead: nobody knows it, or somebody else would.
    fn not_found(&self, shared: &Shared, lead_id: &str) -> Response {
        if self.is_partial {
            return unavailable("a worker is busy and did not answer; ask again");
        }
        let all = |of: fn(&Answer) -> &Vec<Partition>| -> BTreeSet<Partition> {
            self.answers.iter().flat_map(of).copied().collect()
        };
        let (live, restoring) = (all(|answer| &answer.live), all(|answer| &answer.restoring));
        let its = self.partition_of(shared, lead_id);
        let may_be_in = |partitions: &BTreeSet<Partition>| match its {
            Some(its) => partitions.contains(&its),
            None => !partitions.is_empty(),
        };
        let is_all_here = live.len() == usize::try_from(shared.partitions).unwrap_or(usize::MAX);
        if is_all_here || its.is_some_and(|its| live.contains(&its)) {
            return (StatusCode::NOT_FOUND, format!("no lead `{lead_id}` is known\n")).into_response();
        }
        if may_be_in(&restoring) {
            return unavailable("the partition that the lead may be in is being restored; ask again");
        }
        let its = its.map_or_else(String::new, |its| format!(" (partition {its})"));
        unavailable(&format!(
            "the lead may be with another instance{its}: this one has {} of {} partitions",
            live.len(),
            shared.partitions
        ))
    }

    /// The partition of a lead, where keys are leads and it is known how they are partitioned.
    fn partition_of(&self, shared: &Shared, lead_id: &str) -> Option<Partition> {
        let found = self.answers.iter().find_map(|answer| answer.partitioner);
        let partitioner = shared.partitioner.or(found).filter(|_| shared.is_keyed_by_lead)?;
        partitioner.partition(lead_id.as_bytes(), shared.partitions)
    }
}

fn unavailable(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}
