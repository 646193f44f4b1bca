//! TCP ports: who has one, and which is free.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    ops::RangeInclusive,
    time::Duration,
};

use crate::errors::{Error, Result};

/// The port that tools for LocalStack expect.
pub const USUAL: u16 = 4566;

/// Where `mall test` looks for one that is free. It leaves the usual one alone, so that `mall demo` can be started
/// while tests run.
pub const RANGE: RangeInclusive<u16> = USUAL + 1..=USUAL + 99;

/// Whether nobody listens on `port` of this machine. Binding alone does not tell everywhere: where a listener on all
/// addresses and one on 127.0.0.1 may share a port, one has to knock as well.
pub fn is_free(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_err()
        && TcpListener::bind(address).is_ok()
}

/// The first free port of a range.
pub fn first_free(range: RangeInclusive<u16>) -> Result<u16> {
    let (from, to) = (*range.start(), *range.end());
    range.into_iter().find(|port| is_free(*port)).ok_or(Error::NoFreePort { from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken() -> (TcpListener, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[test]
    fn a_port_with_a_listener_is_not_free_until_it_goes() {
        let (listener, port) = taken();
        assert!(!is_free(port));
        drop(listener);
        assert!(is_free(port));
    }

    #[test]
    fn a_listener_on_all_addresses_takes_the_port_too() {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }

    #[test]
    fn the_first_free_port_comes_after_the_taken_ones() {
        let (_listener, port) = taken();
        assert!(matches!(first_free(port..=port), Err(Error::NoFreePort { .. })));
        if let Ok(found) = first_free(port..=port.saturating_add(50)) {
            assert!(found > port);
        }
    }
}
