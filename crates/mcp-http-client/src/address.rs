//! Which addresses may be reached, decided when a connection is made.

use std::error::Error;
use std::future::ready;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, io};

use futures::FutureExt;
use hyper_util::client::legacy::connect::dns as hyper_dns;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tower::Service;
use url::{Host, Url};

/// Decides by address, never by name: a name may mean another address the next time it is looked up.
///
/// Never reached are addresses at which cloud providers answer with credentials of the machine, link-local
/// ones, and those that belong to no single host. Private and loopback ones are fine, as it is the operator
/// who writes the URL, unless a list of networks leaves them out. Source: contract §7.8, reliability S11.
#[derive(Debug, Default)]
pub(crate) struct AddressPolicy {
    /// If there are any, all that may be reached.
    networks: Vec<IpNet>,
}

/// An address that may not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address {address} is refused: {reason}")]
pub(crate) struct Refused {
    address: IpAddr,
    reason: &'static str,
}

impl AddressPolicy {
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        Self { networks }
    }

    /// Checks an address, with all the IPv4 addresses that IPv6 ones may stand for.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let refused = |reason| Err(Refused { address, reason });
        let canonical = address.to_canonical();
        let reason = match canonical {
            IpAddr::V4(v4) => refused_v4(v4),
            IpAddr::V6(v6) => refused_v6(v6).or_else(|| embedded(v6).into_iter().find_map(refused_v4)),
        };
        match reason {
            Some(reason) => refused(reason),
            None if self.networks.is_empty() => Ok(()),
            None if self.networks.iter().any(|network| network.contains(&canonical)) => Ok(()),
            None => refused("it is in none of the allowed networks"),
        }
    }

    /// Checks the host of a URL if it is an address, however spelled. Names are checked by the [`Resolver`].
    pub(crate) fn check_url(&self, url: &Url) -> Result<(), Refused> {
        match url.host() {
            Some(Host::Ipv4(address)) => self.check(address.into()),
            Some(Host::Ipv6(address)) => self.check(address.into()),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }
}

fn refused_v4(address: Ipv4Addr) -> Option<&'static str> {
    // Alibaba, Azure, Oracle; everybody else's are link-local.
    const METADATA: [[u8; 4]; 3] = [[100, 100, 100, 200], [168, 63, 129, 16], [192, 0, 0, 192]];
    let octets = address.octets();
    if METADATA.contains(&octets) {
        Some("cloud metadata")
    } else if address.is_link_local() {
        Some("link-local, where cloud metadata is")
    } else if octets[0] == 0 {
        Some("unspecified")
    } else if address.is_multicast() || address.is_broadcast() {
        Some("it is no single host")
    } else {
        None
    }
}

fn refused_v6(address: Ipv6Addr) -> Option<&'static str> {
    // Oracle, Google. Amazon has a network for that.
    const METADATA: [[u16; 8]; 2] =
        [[0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]];
    if METADATA.contains(&address.segments()) || address.segments().starts_with(&[0xfd00, 0xec2]) {
        Some("cloud metadata")
    } else if address.is_unicast_link_local() {
        Some("link-local")
    } else if address.is_unspecified() {
        Some("unspecified")
    } else if address.is_multicast() {
        Some("it is no single host")
    } else {
        None
    }
}

/// The IPv4 addresses that translators on the way may make of this one: NAT64, SIIT, 6to4, IPv4-compatible.
/// Source: RFC 6052 §2, RFC 8215, RFC 7915, RFC 3056.
fn embedded(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x2002, high, low, ..] => vec![v4(high, low)],
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) > (0, 1) => vec![v4(high, low)],
        // Whoever runs the translator chooses how long the prefix is, 48 bits at least, and so where the address
        // stands: around the octet 8, which is left out, or at the end. In the other places there is nothing.
        [0x64, 0xff9b, 1, ..] => {
            let octets = address.octets();
            let places = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];
            let found = places.map(|place| Ipv4Addr::from(place.map(|at: usize| octets[at])));
            found.into_iter().filter(|address| address.octets()[0] != 0).collect()
        }
        _ => Vec::new(),
    }
}

/// Looks names up and leaves out the addresses that may not be reached.
#[derive(Clone)]
pub(crate) struct Resolver {
    pub(crate) policy: Arc<AddressPolicy>,
    pub(crate) names: Arc<dyn Resolve>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, found) = (self.policy.clone(), self.names.resolve(name));
        async move {
            let mut refused = None;
            let allowed: Vec<SocketAddr> = found
                .await?
                .filter(|address| match policy.check(address.ip()) {
                    Ok(()) => true,
                    Err(reason) => {
                        refused.get_or_insert(reason);
                        false
                    }
                })
                .collect();
            match refused {
                Some(reason) if allowed.is_empty() => Err(Box::new(reason) as Box<dyn Error + Send + Sync>),
                _ if allowed.is_empty() => Err(io::Error::other("the name has no address").into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        }
        .boxed()
    }
}

/// The same for hyper.
impl Service<hyper_dns::Name> for Resolver {
    type Response = Addrs;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Resolving;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: hyper_dns::Name) -> Resolving {
        match name.as_str().parse() {
            Ok(name) => self.resolve(name),
            Err(error) => ready(Err(Box::from(error))).boxed(),
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// The resolver of the operating system.
#[derive(Debug)]
pub(crate) struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(policy: &AddressPolicy, url: &str) -> Option<&'static str> {
        policy.check_url(&url.parse().unwrap()).err().map(|refused| refused.reason)
    }

    /// S11: the forms in which such an address can be written.
    #[test]
    fn forbidden_addresses_are_refused_however_they_are_written() {
        const METADATA: &[&str] = &[
            "http://169.254.169.254/latest/meta-data",
            "http://169.254.169.254:80/",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0xA9FEA9FE/",
            "http://0xa9.0xfe.0xa9.0xfe/",
            "http://0251.0376.0251.0376/",
            "http://025177524776/",
            "http://169.254.43518/",
            "http://169.16689662/",
            "http://0xa9.16689662/",
            "http://169.254.0xa9fe/",
            "http://0251.254.169.254/",
            "http://169.254.169.254./",
            "http://%31%36%39.254.169.254/",
            "http://169%2e254%2e169%2e254/",
            "http://169\u{3002}254\u{3002}169\u{3002}254/",
            "http://\u{2460}\u{2465}\u{2468}.254.169.254/",
            "http://\u{ff11}\u{ff16}\u{ff19}.254.169.254/",
            "http:169.254.169.254/",
            "http:\\\\169.254.169.254\\",
            "http://example.com@169.254.169.254/",
            "http://example.com%40@169.254.169.254/",
            "http://1\t69.254.169.254/",
            " http://169.254.169.254/",
            "https://169.254.169.254/",
            "http://169.254.0.1/",
            "http://169.254.170.2/v2/credentials",
            "http://[::ffff:169.254.169.254]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[0:0:0:0:0:ffff:a9fe:a9fe]/",
            "http://[::FFFF:A9FE:A9FE]:8080/",
            "http://[::169.254.169.254]/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[64:ff9b:1::a9fe:a9fe]/",
            "http://[64:ff9b:1:fffe::a9fe:a9fe]/",
            "http://[64:ff9b:1:a9fe:a9:fe00::]/",
            "http://[64:ff9b:1:12a9:fe:a9fe::]/",
            "http://[64:ff9b:1:1234:a9:fea9:fe00:0]/",
            "http://[::ffff:0:169.254.169.254]/",
            "http://[::ffff:0:a9fe:a9fe]/",
            "http://[2002:a9fe:a9fe::]/",
            "http://[2002:a9fe:a9fe::1]/",
            "http://[fe80::1]/",
            "http://[fe80:0:0:0::1]/",
            "http://[FE80::a9fe:a9fe]/",
            "http://[febf:ffff::1]/",
            "http://[fd00:ec2::254]/",
            "http://[fd00:0ec2:0:0:0:0:0:0254]/",
            "http://[fd00:ec2::23]/",
            "http://[fd00:ec2:1:2:3:4:5:6]/",
            "http://[fd00:c1::a9fe:a9fe]/",
            "http://[fd20:ce::254]/",
            "http://100.100.100.200/",
            "http://1684301000/",
            "http://0x646464c8/",
            "http://[::ffff:100.100.100.200]/",
            "http://168.63.129.16/",
            "http://192.0.0.192/",
        ];
        const NOBODY: &[&str] = &[
            "http://0/",
            "http://0.0.0.0/",
            "http://00/",
            "http://0x0/",
            "http://0.1.2.3/",
            "http://[::]/",
            "http://[::ffff:0.0.0.0]/",
            "http://[::ffff:0:0]/",
            "http://224.0.0.1/",
            "http://239.255.255.250/",
            "http://3758096385/",
            "http://255.255.255.255/",
            "http://4294967295/",
            "http://[ff02::1]/",
            "http://[ff0e::1]/",
            "http://[::ffff:224.0.0.1]/",
            "http://[64:ff9b::]/",
            "http://[2002:e000:1::]/",
        ];
        assert!(METADATA.len() + NOBODY.len() >= 60);
        let policy = AddressPolicy::default();
        for url in METADATA {
            let reason = reason(&policy, url).unwrap_or_else(|| panic!("{url} is allowed"));
            assert!(reason.contains("metadata") || reason.contains("link-local"), "{url}: {reason}");
        }
        for url in NOBODY {
            let reason = reason(&policy, url).unwrap_or_else(|| panic!("{url} is allowed"));
            assert!(reason == "unspecified" || reason == "it is no single host", "{url}: {reason}");
        }
    }

    #[test]
    fn private_and_loopback_addresses_are_fine_unless_a_list_leaves_them_out() {
        let any = AddressPolicy::default();
        let some = AddressPolicy::new(vec!["10.1.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        for (url, listed) in [
            ("http://127.0.0.1/", false),
            ("http://[::1]/", false),
            ("http://[::ffff:127.0.0.1]/", false),
            ("http://192.168.1.1/", false),
            ("http://[fd00::1]/", false),
            ("http://[64:ff9b:1:a01:2:300::]/", false),
            ("http://[64:ff9b:1::203.0.113.7]/", false),
            ("http://[::ffff:0:203.0.113.7]/", false),
            ("http://203.0.113.7/", false),
            ("http://10.2.0.1/", false),
            ("http://10.1.2.3/", true),
            ("http://[::ffff:10.1.2.3]/", true),
            ("http://[2001:db8::7]/", true),
            ("http://name.example/", true),
        ] {
            assert_eq!(reason(&any, url), None, "{url}");
            let expected = (!listed).then_some("it is in none of the allowed networks");
            assert_eq!(reason(&some, url), expected, "{url}");
        }
        let all = AddressPolicy::new(vec!["0.0.0.0/0".parse().unwrap()]);
        assert!(reason(&all, "http://169.254.169.254/").is_some(), "a list allows nothing that is refused");
    }

    struct Fixed(Vec<IpAddr>);

    impl Resolve for Fixed {
        fn resolve(&self, _: Name) -> Resolving {
            let found: Vec<_> = self.0.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
            async { Ok(Box::new(found.into_iter()) as Addrs) }.boxed()
        }
    }

    #[tokio::test]
    async fn of_the_addresses_of_a_name_only_those_allowed_are_used() {
        for (found, expected) in [
            (vec!["203.0.113.7", "169.254.169.254", "::1"], Ok(vec!["203.0.113.7", "::1"])),
            (
                vec!["169.254.169.254", "fe80::1"],
                Err("the address 169.254.169.254 is refused: link-local, where cloud metadata is"),
            ),
            (vec![], Err("the name has no address")),
        ] {
            let names = Arc::new(Fixed(found.iter().map(|ip| ip.parse().unwrap()).collect()));
            let resolver = Resolver { policy: Arc::default(), names };
            let outcome = resolver.resolve("a.example".parse().unwrap()).await;
            let outcome = outcome
                .map(|found| found.map(|address| address.ip().to_string()).collect::<Vec<_>>())
                .map_err(|error| error.to_string());
            let expected = expected
                .map(|ips| ips.into_iter().map(str::to_owned).collect::<Vec<_>>())
                .map_err(str::to_owned);
            assert_eq!(outcome, expected, "{found:?}");
        }
    }

    #[tokio::test]
    async fn names_of_the_system_are_found() {
        let found: Vec<_> = SystemNames.resolve("localhost".parse().unwrap()).await.unwrap().collect();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    }
}
