//! What others may ask of a running service: `/metrics`, `/livez`, `/readyz`.
//!
//! [`guard`] decides who may ask for what, [`listen`] how long and how much one may ask.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::runtime::shared::Shared;
use crate::sla::instant::Instant;

pub mod guard;
mod listen;

/// A loop that has not come round for so long is dead: longer than any call to a broker may take.
const ALIVE_LIMIT_MS: i64 = 60_000;

/// Why nothing else can be said yet.
const STARTING: &str = "the brokers have not said what the topics are";

/// What the handlers look at.
#[derive(Clone)]
struct Asked {
    shared: Arc<OnceLock<Arc<Shared>>>,
    now: fn() -> Instant,
}

/// Serves for as long as it is polled; before `shared` is there the process is alive and not ready.
pub async fn serve(
    listener: TcpListener,
    shared: Arc<OnceLock<Arc<Shared>>>,
    token: Option<guard::Token>,
    now: fn() -> Instant,
) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(Asked { shared, now });
    listen::serve(listener, guard::guarded(router, token)).await;
}

async fn metrics(State(asked): State<Asked>) -> Response {
    match asked.shared.get().map(|shared| shared.metrics.expose()) {
        Some(Ok(text)) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Some(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        None => verdict(Some(STARTING.to_owned())),
    }
}

/// Alive is a process whose loops come round; what its brokers do is not its fault.
async fn livez(State(asked): State<Asked>) -> Response {
    let health = asked.shared.get().map(|shared| &shared.health);
    verdict(health.and_then(|health| health.not_alive((asked.now)(), ALIVE_LIMIT_MS)))
}

/// Ready is a process that has joined the group and restored what it was given.
async fn readyz(State(asked): State<Asked>) -> Response {
    match asked.shared.get() {
        Some(shared) => verdict(shared.health.not_ready()),
        None => verdict(Some(STARTING.to_owned())),
    }
}

fn verdict(trouble: Option<String>) -> Response {
    match trouble {
        None => "ok\n".into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response(),
    }
}
