//! Sets of addresses in CIDR notation.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use regorus::Value;

use super::text;

/// `net.cidr_contains(cidr, cidr_or_ip)`.
pub(super) fn contains(arguments: &[Value]) -> Option<Value> {
    let (outer, inner) = (network(text(arguments, 0)?)?, network_or_address(text(arguments, 1)?)?);
    Some(outer.contains(&inner).into())
}

/// `net.cidr_intersects(cidr1, cidr2)`.
pub(super) fn intersects(arguments: &[Value]) -> Option<Value> {
    let (one, other) = (network(text(arguments, 0)?)?, network(text(arguments, 1)?)?);
    Some((one.contains(&other) || other.contains(&one)).into())
}

/// `net.cidr_is_valid(cidr)`.
pub(super) fn is_valid(arguments: &[Value]) -> Option<Value> {
    Some(text(arguments, 0).is_some_and(|text| network(text).is_some()).into())
}

/// `net.cidr_expand(cidr)`: its addresses, if they are not more than 65,536.
pub(super) fn expand(arguments: &[Value]) -> Option<Value> {
    const MOST_BITS: u8 = 16;
    let network = network(text(arguments, 0)?)?.trunc();
    if network.max_prefix_len() - network.prefix_len() > MOST_BITS {
        return None;
    }
    let addresses: BTreeSet<Value> = match network {
        IpNet::V4(network) => {
            let (first, last) = (u32::from(network.network()), u32::from(network.broadcast()));
            (first..=last).map(|address| std::net::Ipv4Addr::from(address).to_string().into()).collect()
        }
        IpNet::V6(network) => {
            let (first, last) = (u128::from(network.network()), u128::from(network.broadcast()));
            (first..=last).map(|address| std::net::Ipv6Addr::from(address).to_string().into()).collect()
        }
    };
    Some(Value::from(addresses))
}

/// `net.cidr_contains_matches(cidrs, cidrs_or_ips)`: the pairs of keys of which the first contains the second.
pub(super) fn contains_matches(arguments: &[Value]) -> Option<Value> {
    let outer = keyed(arguments.first()?)?;
    let inner = keyed(arguments.get(1)?)?;
    let mut matches = BTreeSet::new();
    for (outer_key, outer_text) in &outer {
        let outer = network(outer_text)?;
        for (inner_key, inner_text) in &inner {
            if outer.contains(&network_or_address(inner_text)?) {
                matches.insert(Value::from(vec![outer_key.clone(), inner_key.clone()]));
            }
        }
    }
    Some(Value::from(matches))
}

/// `net.cidr_merge(cidrs_or_ips)`: the smallest set of networks with the same addresses.
pub(super) fn merge(arguments: &[Value]) -> Option<Value> {
    let (mut v4, mut v6): (Vec<Ipv4Net>, Vec<Ipv6Net>) = (Vec::new(), Vec::new());
    let elements: Vec<&Value> = match arguments.first()? {
        Value::Array(elements) => elements.iter().collect(),
        Value::Set(elements) => elements.iter().collect(),
        _ => return None,
    };
    for element in elements {
        let Value::String(text) = element else { return None };
        match network_or_address(text)? {
            IpNet::V4(network) => v4.push(network.trunc()),
            IpNet::V6(network) => v6.push(network.trunc()),
        }
    }
    let v4 = Ipv4Net::aggregate(&v4).into_iter().map(|network| network.to_string());
    let v6 = Ipv6Net::aggregate(&v6).into_iter().map(|network| network.to_string());
    Some(Value::from(v4.chain(v6).map(Value::from).collect::<BTreeSet<_>>()))
}

/// As OPA reads it: the length of the prefix is digits, with zeros before them or not.
fn network(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let length = Some(length).filter(|length| length.bytes().all(|byte| byte.is_ascii_digit()))?;
    IpNet::new(address.parse().ok()?, length.parse().ok()?).ok()
}

fn network_or_address(text: &str) -> Option<IpNet> {
    network(text).or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// The texts of a text, an array, a set or an object, each with the key that a match names it by. An element may be
/// an array that begins with its text.
fn keyed(value: &Value) -> Option<Vec<(Value, String)>> {
    let element = |value: &Value| match value {
        Value::String(text) => Some(text.to_string()),
        Value::Array(parts) => match parts.first() {
            Some(Value::String(text)) => Some(text.to_string()),
            _ => None,
        },
        _ => None,
    };
    match value {
        Value::String(text) => Some(vec![(value.clone(), text.to_string())]),
        Value::Array(elements) => {
            let keyed = elements.iter().enumerate();
            keyed.map(|(index, value)| Some((Value::from(index as u64), element(value)?))).collect()
        }
        Value::Set(elements) => elements.iter().map(|value| Some((value.clone(), element(value)?))).collect(),
        Value::Object(members) => {
            members.iter().map(|(key, value)| Some((key.clone(), element(value)?))).collect()
        }
        _ => None,
    }
}
