//! A URL, as far as it says where to connect and what to ask.

use std::net::{SocketAddr, ToSocketAddrs};

use evenkeel_load::Target;
use http::Uri;

use crate::fault::{Fault, USAGE};

/// Reads a URL and looks its host up.
pub(crate) fn target(url: &str) -> Result<Target, Fault> {
    let fault = |why: &str| Fault::new(USAGE, format!("`{url}`: {why}"));
    let uri: Uri = url.parse().map_err(|error| fault(&format!("{error}")))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            let hint = "give the address behind what ends TLS, or a plain listener of the program";
            return Err(fault("TLS is not spoken here").hint(hint));
        }
        _ => return Err(fault("it is no URL").hint("write it like http://127.0.0.1:8080/path")),
    }
    let authority = uri.authority().ok_or_else(|| fault("it has no host"))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let addr = (host, authority.port_u16().unwrap_or(80)).to_socket_addrs();
    let mut addrs = addr.map_err(|error| fault(&format!("{error}")))?.collect::<Vec<SocketAddr>>();
    // What `localhost` means differs; programs listen on the older one more often.
    addrs.sort_by_key(SocketAddr::is_ipv6);
    let addr = *addrs.first().ok_or_else(|| fault("its host has no address"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Target { authority: authority.as_str().to_owned(), ..Target::new(addr, path) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_what() {
        let target = target("http://127.0.0.1:8080/orders?all").unwrap();
        assert_eq!((target.addr.to_string().as_str(), target.path.as_str()), ("127.0.0.1:8080", "/orders?all"));
        assert_eq!(super::target("http://[::1]").unwrap().addr.to_string(), "[::1]:80");
    }

    #[test]
    fn what_cannot_be_asked_is_refused_r2_5d() {
        for (url, why) in [("https://localhost/", "TLS"), ("127.0.0.1:80", "no URL"), ("http://", "")] {
            let fault = target(url).unwrap_err().to_string();
            assert!(fault.contains(why) && fault.contains(url), "{fault}");
        }
    }
}
