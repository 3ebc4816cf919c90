//! How long a client waits: `grpc-timeout`, and what the gateway's clients say by that name.
//!
//! Must hold: when the time is over the call is given up as if its client had gone, and the client
//! is told; what was proposed by then is applied all the same, and so its caller is told what
//! callers are told whose proposal took too long; a call whose time is over when it comes does
//! nothing; a time that cannot be read is refused.

use super::refusal::Refusal;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tonic::Status;
use tonic::body::Body;

/// The header with the time.
const NAME: HeaderName = HeaderName::from_static("grpc-timeout");
/// What a client is told whose time is over.
const OVER: &str = "context deadline exceeded";
/// Most bytes of a time: eight digits and a unit.
const MOST_BYTES: usize = 9;

tokio::task_local! {
    /// Whether the call that runs waits for what it proposed.
    static PROPOSES: Arc<AtomicBool>;
}

/// When a call is given up; in the extensions of calls from the gateway.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    /// Upstream's gateway ends the call itself, whatever the member is at.
    is_gateways: bool,
}

/// Says while it lives that a call waits for what it proposed.
pub(crate) struct Proposing(Option<Arc<AtomicBool>>);

/// From here on the call that runs waits for its proposal.
pub(crate) fn proposing() -> Proposing {
    let call = PROPOSES.try_with(Arc::clone).ok();
    if let Some(proposes) = &call {
        proposes.store(true, Ordering::Relaxed);
    }
    Proposing(call)
}

impl Drop for Proposing {
    fn drop(&mut self) {
        if let Some(proposes) = &self.0 {
            proposes.store(false, Ordering::Relaxed);
        }
    }
}

impl Deadline {
    /// Of a call that came at `began`. Of several times the last one counts, as upstream.
    ///
    /// # Errors
    /// One of the times cannot be read.
    pub(super) fn of<B>(request: &Request<B>, began: Instant) -> Result<Deadline, Status> {
        if let Some(deadline) = request.extensions().get::<Deadline>() {
            return Ok(*deadline);
        }
        let mut at = None;
        for value in request.headers().get_all(NAME) {
            let time = parsed(&String::from_utf8_lossy(value.as_bytes()))
                .map_err(|why| Status::internal(format!("malformed grpc-timeout: {why}")))?;
            at = began.checked_add(time);
        }
        Ok(Deadline { at, is_gateways: false })
    }

    /// Of a request to the gateway, which counts nothing and zero as no time at all.
    ///
    /// # Errors
    /// The time cannot be read.
    pub(crate) fn of_gateway(headers: &HeaderMap) -> Result<Deadline, Status> {
        let text = headers.get(NAME).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let text = text.unwrap_or_default();
        if text.is_empty() {
            return Ok(Deadline { at: None, is_gateways: true });
        }
        let invalid = || Status::invalid_argument(format!("invalid grpc-timeout: {text}"));
        let (digits, unit) = cut(&text).ok_or_else(invalid)?;
        let number: i64 = digits.parse().map_err(|_| invalid())?;
        let now = Instant::now();
        let at = match u64::try_from(number) {
            Ok(0) => None,
            Ok(number) => now.checked_add(time(number, unit)),
            Err(_) => Some(now),
        };
        Ok(Deadline { at, is_gateways: true })
    }

    /// Whether there is no time left.
    pub(super) fn is_over(self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }

    /// Whether there is any.
    pub(super) fn is_set(self) -> bool {
        self.at.is_some()
    }

    /// Runs a call for as long as there is time.
    pub(super) async fn hold<T>(
        self,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let Some(at) = self.at else { return call.await };
        let proposes = Arc::new(AtomicBool::new(false));
        let call = PROPOSES.scope(Arc::clone(&proposes), call);
        // It must be there still when it is asked what it was at.
        let mut call = pin!(tokio::time::timeout_at(at.into(), call));
        match call.as_mut().await {
            Ok(outcome) => outcome,
            Err(_) if proposes.load(Ordering::Relaxed) && !self.is_gateways => {
                Err(Refusal::Timeout.into())
            }
            Err(_) => Err(over()),
        }
    }

    /// Waits until the time is over; for ever, if there is none.
    pub(super) async fn passed(self) -> Status {
        match self.at {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
        over()
    }
}

/// What a client is told whose time is over.
pub(super) fn over() -> Status {
    Status::deadline_exceeded(OVER)
}

/// The answer to a call whose time cannot be read.
pub(super) fn malformed(status: Status) -> Response<Body> {
    let mut response = status.into_http();
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

/// A time such as `100m`, or what is wrong with it in the words of Go's library.
fn parsed(text: &str) -> Result<Duration, String> {
    if text.len() < 2 {
        return Err(format!("transport: timeout string is too short: {text:?}"));
    }
    if text.len() > MOST_BYTES {
        return Err(format!("transport: timeout string is too long: {text:?}"));
    }
    let Some((digits, unit)) = cut(text) else {
        return Err(format!("transport: timeout unit is not recognized: {text:?}"));
    };
    // Rust takes a plus.
    let number = digits.parse().ok().filter(|_| !digits.starts_with('+'));
    let number =
        number.ok_or_else(|| format!("strconv.ParseUint: parsing {digits:?}: invalid syntax"))?;
    Ok(time(number, unit))
}

/// Digits and the unit's nanoseconds; `None` for an unknown unit and for less than two characters.
fn cut(text: &str) -> Option<(&str, u64)> {
    let digits = text.get(..text.len().checked_sub(1)?)?;
    let unit = match text.as_bytes().last()? {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    (!digits.is_empty()).then_some((digits, unit))
}

fn time(number: u64, unit: u64) -> Duration {
    Duration::from_nanos(number.saturating_mul(unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use tonic::Code;

    fn of(times: &[&str]) -> Result<Option<Duration>, String> {
        let (mut request, now) = (Request::new(()), Instant::now());
        for time in times {
            request.headers_mut().append(NAME, HeaderValue::from_str(time).unwrap());
        }
        let deadline = Deadline::of(&request, now).map_err(|status| status.message().to_owned())?;
        Ok(deadline.at.map(|at| at - now))
    }

    #[test]
    fn every_unit_is_read_and_the_last_time_counts() {
        for (text, nanos) in [
            ("7n", 7),
            ("7u", 7_000),
            ("7m", 7_000_000),
            ("7S", 7_000_000_000),
            ("7M", 420_000_000_000),
            ("7H", 25_200_000_000_000),
            ("00000000S", 0),
        ] {
            assert_eq!(of(&[text]), Ok(Some(Duration::from_nanos(nanos))), "{text}");
        }
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["1n", "2S"]), Ok(Some(Duration::from_secs(2))));
        assert!(of(&["bad", "2S"]).is_err());
    }

    #[test]
    fn the_gateway_reads_signs_and_takes_zero_for_none() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(NAME, HeaderValue::from_static(text));
            Deadline::of_gateway(&headers)
        };
        for text in ["", "0S", "00m"] {
            assert!(!of(text).unwrap().is_set(), "{text}");
        }
        for (text, is_over) in [("-1S", true), ("+9S", false), ("99999999H", false)] {
            let deadline = of(text).unwrap();
            assert!(deadline.is_set());
            assert_eq!(deadline.is_over(), is_over, "{text}");
        }
        for text in ["x", "S", "5X", "100", "1.5S"] {
            let refused = of(text).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert_eq!(refused.message(), format!("invalid grpc-timeout: {text}"));
        }
    }

    fn soon(is_gateways: bool) -> Deadline {
        Deadline { at: Some(Instant::now() + Duration::from_millis(20)), is_gateways }
    }

    #[tokio::test]
    async fn who_waits_for_a_proposal_is_told_so_and_the_rest_that_time_is_over() {
        let code = async |is_gateways: bool, stays: bool| {
            let outcome = soon(is_gateways).hold(async {
                let waiting = proposing();
                if !stays {
                    drop(waiting);
                }
                std::future::pending::<Result<(), Status>>().await
            });
            outcome.await.unwrap_err().code()
        };
        assert_eq!(code(false, true).await, Code::Unavailable);
        assert_eq!(code(false, false).await, Code::DeadlineExceeded);
        assert_eq!(code(true, true).await, Code::DeadlineExceeded);
        let never = Deadline { at: None, is_gateways: false };
        let quick = never.hold(async { Ok(proposing().0.is_some()) }).await;
        assert!(!quick.unwrap(), "nobody asks what a call without a time is at");
        assert_eq!(soon(false).passed().await.code(), Code::DeadlineExceeded);
    }
}
