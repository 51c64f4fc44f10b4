//! Connections: how many at once, how long, and how much a request may say.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections at a time; others wait for their turn.
const CONNECTIONS_MAX: usize = 256;

/// How long a client may take over the head of a request, or say nothing before the next.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most header fields of a request.
const HEADER_FIELDS_MAX: usize = 64;

/// A connection this old gets no further request, whoever it belongs to.
const AGE_MAX: Duration = Duration::from_secs(120);

/// How long its last answer may take to be read.
const LAST_ANSWER: Duration = Duration::from_secs(15);

/// Serves for as long as it is polled; what is under way ends with it.
pub async fn serve(listener: TcpListener, pages: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = pages.clone();
                connections.spawn(async move {
                    connected(stream, pages).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, or a connection that went before it came.
                tracing::debug!(%error, "a connection could not be taken");
                sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Answers one connection's requests. What is wrong with a client is its own affair.
async fn connected(stream: TcpStream, pages: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    http.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADER_FIELDS_MAX);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages));
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(AGE_MAX) => connection.as_mut().graceful_shutdown(),
    }
    let _ = timeout(LAST_ANSWER, connection).await;
}
