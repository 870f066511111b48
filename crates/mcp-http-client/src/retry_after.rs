//! The `Retry-After` header.

use std::time::Duration;

use http::header::{DATE, HeaderMap, RETRY_AFTER};

/// A longer wait than this is not believed.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the server asks to wait: a number of seconds, or a date. At most one day.
///
/// A date is compared with the answer's own `Date`, so that only the server's clock counts; without one
/// it says nothing. Source: RFC 9110 §10.2.3.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_or(LONGEST, Duration::from_secs)
    } else {
        let now = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read() {
        let now = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (text, date, secs) in [
            ("0", None, Some(0)),
            (" 7 ", None, Some(7)),
            ("86401", None, Some(86_400)),
            ("99999999999999999999999", None, Some(86_400)),
            ("Sun, 06 Nov 1994 08:49:40 GMT", now, Some(3)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", now, Some(0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", now, Some(86_400)),
            ("Sun, 06 Nov 1994 08:49:40 GMT", None, None),
            ("-1", now, None),
            ("1.5", now, None),
            ("", now, None),
            ("soon", now, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            assert_eq!(retry_after(&headers), secs.map(Duration::from_secs), "{text:?} at {date:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
