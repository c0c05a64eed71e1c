//! Where the database is: a libpq URL or `key=value` pairs. The driver knows most of it; what
//! it does not know, the stricter `sslmode`s and `sslrootcert`, is taken out before.

mod options;

use super::tls::Check;
use options::Options;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio_postgres::config::{Config, Host, LoadBalanceHosts, SslMode};

/// For TCP to one address, and for all that it takes to be let in by one host: the look-up of
/// its name, TCP to its addresses in turn, TLS, and the password. `connect_timeout` sets both.
const TCP: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(30);
/// A server that vanished without a word is given up after this time.
const SILENCE: Duration = Duration::from_secs(30);

/// A parsed address; never shows its password.
#[derive(Clone)]
pub struct Address {
    config: Config,
    check: Check,
    connect_limit: Duration,
}

impl Address {
    /// `password` is for an address without one.
    pub fn parse(text: &str, password: Option<String>) -> Result<Self, String> {
        let expected = "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE or host=HOST user=USER dbname=DATABASE";
        let mut options = if text.contains("://") {
            Options::of_url(text)
        } else {
            Options::of_pairs(text).ok_or(expected)?
        };
        let root = options.take("sslrootcert").filter(|file| file != "system");
        let root = root.map(PathBuf::from);
        let mode = options.take("sslmode");
        let (driver_mode, check) = match mode.as_deref() {
            Some("disable") => (SslMode::Disable, Check::Nothing),
            None | Some("allow" | "prefer") => (SslMode::Prefer, Check::Nothing),
            // As libpq has it: with a file to check by, `require` checks.
            Some("require") if root.is_some() => (SslMode::Require, Check::Issuer(root)),
            Some("require") => (SslMode::Require, Check::Nothing),
            Some("verify-ca") => (SslMode::Require, Check::Issuer(root)),
            Some("verify-full") => (SslMode::Require, Check::IssuerAndName(root)),
            Some(other) => {
                return Err(format!(
                    "sslmode {other}: expected disable, prefer, require, verify-ca or verify-full"
                ));
            }
        };
        if let Some(name) = options.unknown() {
            return Err(format!("option {name} is not supported"));
        }
        // The driver's error may quote the value it does not like.
        let mut config = Config::from_str(&options.into_text()).map_err(|_| expected)?;
        config.ssl_mode(driver_mode);
        if config.get_hosts().is_empty() {
            return Err(expected.to_owned());
        }
        if let (None, Some(password)) = (config.get_password(), password) {
            config.password(password);
        }
        let connect_limit = config.get_connect_timeout().copied().unwrap_or(CONNECT);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(TCP);
        }
        if config.get_application_name().is_none() {
            config.application_name("metrics-consumer");
        }
        config.keepalives_idle(SILENCE).tcp_user_timeout(SILENCE);
        Ok(Self {
            config,
            check,
            connect_limit,
        })
    }

    pub(super) fn check(&self) -> &Check {
        &self.check
    }

    /// How long one host may take to let us in.
    pub(super) fn connect_limit(&self) -> Duration {
        self.connect_limit
    }

    /// One for each host, in the order in which to try them.
    pub(super) fn hosts(&self) -> Vec<Config> {
        let (hosts, config) = (self.config.get_hosts(), &self.config);
        let addresses = config.get_hostaddrs();
        let ports = config.get_ports();
        let fits = |count: usize, least: usize| count <= least || count == hosts.len();
        let is_shuffled = config.get_load_balance_hosts() != LoadBalanceHosts::Disable;
        // What does not fit together is the driver's to refuse, and the dice are its own, too:
        // then one silent host takes the time of all, and the next attempt may begin elsewhere.
        if is_shuffled || !fits(ports.len(), 1) || !fits(addresses.len(), 0) {
            return vec![config.clone()];
        }
        let hosts = hosts.iter().enumerate().map(|(index, host)| {
            let mut one = of_any_host(config);
            match host {
                Host::Tcp(name) => one.host(name),
                Host::Unix(folder) => one.host_path(folder),
            };
            if let Some(address) = addresses.get(index) {
                one.hostaddr(*address);
            }
            if let Some(port) = ports.get(index).or(ports.first()) {
                one.port(*port);
            }
            one
        });
        hosts.collect()
    }
}

/// All but the hosts, which cannot be taken out of a configuration.
fn of_any_host(config: &Config) -> Config {
    let mut any = Config::new();
    any.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .channel_binding(config.get_channel_binding())
        .target_session_attrs(config.get_target_session_attrs())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle());
    macro_rules! copy_if_set {
        ($($name:ident: $get:ident),*) => {
            $(if let Some(value) = config.$get() {
                any.$name(value.to_owned());
            })*
        };
    }
    copy_if_set!(
        user: get_user,
        password: get_password,
        dbname: get_dbname,
        options: get_options,
        application_name: get_application_name,
        connect_timeout: get_connect_timeout,
        tcp_user_timeout: get_tcp_user_timeout,
        keepalives_interval: get_keepalives_interval,
        keepalives_retries: get_keepalives_retries
    );
    any
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.config.get_user().unwrap_or_default();
        let name = self.config.get_dbname().unwrap_or(user);
        write!(out, "database {name} at ")?;
        let ports = self.config.get_ports();
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(index).or(ports.first()).unwrap_or(&5432);
            let comma = if index > 0 { "," } else { "" };
            match host {
                Host::Tcp(host) => write!(out, "{comma}{host}:{port}")?,
                Host::Unix(folder) => write!(out, "{comma}{}:{port}", folder.display())?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text, None).unwrap()
    }

    #[test]
    fn both_forms_say_the_same() {
        let root = Some(PathBuf::from("/etc/my ca.pem"));
        for text in [
            "postgresql://me:p%40ss@db.example:6432/metrics?sslmode=verify-full&sslrootcert=/etc/my%20ca.pem",
            "host=db.example port = 6432 user=me password='p@ss' dbname=metrics sslmode=verify-full sslrootcert='/etc/my ca.pem'",
        ] {
            let address = parse(text);
            assert_eq!(address.to_string(), "database metrics at db.example:6432");
            assert_eq!(address.config.get_password(), Some(&b"p@ss"[..]));
            assert_eq!(address.config.get_user(), Some("me"));
            assert_eq!(address.config.get_ssl_mode(), SslMode::Require);
            assert_eq!(address.check, Check::IssuerAndName(root.clone()));
        }
    }

    #[test]
    fn modes_are_those_of_libpq() {
        let of = |mode: &str| {
            let address = parse(&format!("postgres://h/db{mode}"));
            (address.config.get_ssl_mode(), address.check)
        };
        let root = Some(PathBuf::from("/ca"));
        assert_eq!(of(""), (SslMode::Prefer, Check::Nothing));
        assert_eq!(of("?sslmode=disable"), (SslMode::Disable, Check::Nothing));
        assert_eq!(of("?sslmode=require"), (SslMode::Require, Check::Nothing));
        let expected = (SslMode::Require, Check::Issuer(root));
        assert_eq!(of("?sslrootcert=/ca&sslmode=require"), expected);
        assert_eq!(of("?sslmode=verify-ca&sslrootcert=/ca"), expected);
        let expected = (SslMode::Require, Check::IssuerAndName(None));
        assert_eq!(of("?sslmode=verify-full&sslrootcert=system"), expected);
        let error = Address::parse("postgres://h/db?sslmode=on", None).unwrap_err();
        assert!(
            error.starts_with("sslmode on: expected disable, "),
            "{error}"
        );
    }

    #[test]
    fn a_socket_and_a_password_from_outside() {
        let address = Address::parse("host=/run/pg user=u", Some("x y".to_owned())).unwrap();
        assert_eq!(address.to_string(), "database u at /run/pg:5432");
        assert_eq!(address.config.get_password(), Some(&b"x y"[..]));
        let address = parse(r"host=h user=u password='it\'s a \\ b' options='-c work_mem=1MB'");
        assert_eq!(address.config.get_password(), Some(&br"it's a \ b"[..]));
        assert_eq!(address.config.get_options(), Some("-c work_mem=1MB"));
        assert!(Address::parse("dbname=x", None).is_err(), "no host");
    }

    #[test]
    fn each_host_is_tried_with_all_the_options() {
        let options = "user=u password=p dbname=d application_name=a connect_timeout=3 \
            keepalives=1 keepalives_interval=5 keepalives_retries=2 options='-c a=b' \
            channel_binding=disable sslmode=require target_session_attrs=read-write";
        let both = parse(&format!("host=a,/run/pg port=1,2 {options}"));
        let of = |host: &str| vec![parse(&format!("{host} {options}")).config];
        let expected = [of("host=a port=1"), of("host=/run/pg port=2")].concat();
        assert_eq!(both.hosts(), expected);
        assert_eq!(both.connect_limit(), Duration::from_secs(3));
        assert_eq!(parse("host=a").connect_limit(), CONNECT);
        let shuffled = parse("host=a,b load_balance_hosts=random");
        assert_eq!(shuffled.hosts(), std::slice::from_ref(&shuffled.config));
    }
}
