//! What others may ask of a running service: `/metrics`, `/livez`, `/readyz`.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::runtime::shared::Shared;
use crate::sla::instant::Instant;

/// A loop that has not come round for so long is dead: longer than any call to a broker may take.
const ALIVE_LIMIT_MS: i64 = 60_000;

/// What the handlers look at.
#[derive(Clone)]
struct Asked {
    shared: Arc<Shared>,
    now: fn() -> Instant,
}

/// Serves until `stop` resolves.
pub async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    now: fn() -> Instant,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(Asked { shared, now });
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn metrics(State(asked): State<Asked>) -> Response {
    match asked.shared.metrics.expose() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Alive is a process whose loops come round; what its brokers do is not its fault.
async fn livez(State(asked): State<Asked>) -> Response {
    verdict(asked.shared.health.not_alive((asked.now)(), ALIVE_LIMIT_MS))
}

/// Ready is a process that has joined the group and restored what it was given.
async fn readyz(State(asked): State<Asked>) -> Response {
    verdict(asked.shared.health.not_ready())
}

fn verdict(trouble: Option<String>) -> Response {
    match trouble {
        None => "ok\n".into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response(),
    }
}
