//! A lead as a running service knows it.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::Failure;
use crate::explain::Explanation;

/// How long the service may take.
const WITHIN: Duration = Duration::from_secs(15);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// What a part of a path keeps as it is.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Asks the service at an address.
pub(super) async fn ask(url: &str, lead_id: &str, token: Option<&str>) -> Result<Explanation, Failure> {
    let failed = |error: String| Failure::Failed(format!("cannot ask `{url}`: {error}"));
    let answered = timeout(WITHIN, answer(url, lead_id, token)).await;
    let (status, text) = answered
        .unwrap_or_else(|_| Err(format!("no answer within {} s", WITHIN.as_secs())))
        .map_err(failed)?;
    match status {
        StatusCode::OK => serde_json::from_slice(&text).map_err(|error| failed(error.to_string())),
        StatusCode::NOT_FOUND => Err(Failure::Ended(format!("the service at `{url}` says: {}", said(&text)))),
        StatusCode::UNAUTHORIZED => Err(failed("it wants another token, see `--token-file`".to_owned())),
        status => Err(failed(format!("{}: {}", status.as_u16(), said(&text)))),
    }
}

fn said(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim().to_owned()
}

async fn answer(url: &str, lead_id: &str, token: Option<&str>) -> Result<(StatusCode, Vec<u8>), String> {
    let base: Uri = url.trim_end_matches('/').parse().map_err(|_| "it is no URL".to_owned())?;
    if base.scheme_str() != Some("http") {
        return Err("it must begin with `http://`: the service speaks no TLS".to_owned());
    }
    let host = base.host().ok_or("it names no host")?;
    let authority = base.authority().map_or_else(|| host.to_owned(), ToString::to_string);
    let lead_id = utf8_percent_encode(lead_id, KEPT);
    let path = format!("{}/api/v1/leads/{lead_id}/explain", base.path().trim_end_matches('/'));
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, base.port_u16().unwrap_or(80))).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let mut request = Request::get(path).header(header::HOST, authority);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Body::empty()).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await;
    Ok((status, body.map_err(|error| error.to_string())?.to_vec()))
}
