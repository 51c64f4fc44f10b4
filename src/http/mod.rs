//! What others may ask of a running service: `/metrics`, `/livez`, `/readyz`, `/api/v1/leads/{id}/explain`.
//!
//! [`guard`] decides who may ask for what, `listen` how long and how much one may ask.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::runtime::shared::Shared;
use crate::runtime::trouble::Troubles;
use crate::sla::instant::Instant;

mod explain;
pub mod guard;
mod listen;

/// A loop that has not come round for so long is dead: longer than any call to a broker may take.
const ALIVE_LIMIT_MS: i64 = 60_000;

/// Why nothing else can be said yet.
const STARTING: &str = "the brokers have not said what the topics are";

/// What the handlers look at.
#[derive(Clone)]
pub struct Asked {
    /// What the workers have in common, once there are any.
    pub shared: Arc<OnceLock<Arc<Shared>>>,
    /// What is counted.
    pub metrics: Metrics,
    /// What is wrong with the brokers.
    pub troubles: Arc<Troubles>,
    /// The wall clock.
    pub now: fn() -> Instant,
}

/// Serves for as long as it is polled; before `shared` is there the process is alive and not ready.
pub async fn serve(listener: TcpListener, token: Option<guard::Token>, asked: Asked) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/api/v1/leads/{id}/explain", get(explain::explain))
        .with_state(asked);
    listen::serve(listener, guard::guarded(router, token)).await;
}

async fn metrics(State(asked): State<Asked>) -> Response {
    asked.troubles.publish();
    match asked.metrics.expose() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Alive is a process whose loops come round; what its brokers do is not its fault.
async fn livez(State(asked): State<Asked>) -> Response {
    let health = asked.shared.get().map(|shared| &shared.health);
    verdict(health.and_then(|health| health.not_alive((asked.now)(), ALIVE_LIMIT_MS)))
}

/// Ready is a process that has joined the group and restored what it was given, and whose brokers let it work.
async fn readyz(State(asked): State<Asked>) -> Response {
    let unready = match asked.shared.get() {
        Some(shared) => shared.health.not_ready(),
        None => Some(STARTING.to_owned()),
    };
    let troubles = asked.troubles.needing_somebody();
    // While it starts, what nobody can mend here is the reason as well.
    let outage = asked.troubles.latest(None).filter(|_| troubles.is_none() && unready.is_some());
    let all: Vec<_> = troubles.into_iter().chain(unready).chain(outage).collect();
    verdict((!all.is_empty()).then(|| all.join("\n")))
}

fn verdict(trouble: Option<String>) -> Response {
    match trouble {
        None => "ok\n".into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response(),
    }
}
