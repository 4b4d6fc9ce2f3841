//! Which evaluation this is: tests that passed in one need not pass in another.

/// Changes with whatever may change what an evaluation comes to: the engine, its features, and the functions that it gets
/// from us.
pub const REVISION: u32 = 1;

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};

    use super::REVISION;

    /// The digest of what `REVISION` stands for.
    const PINNED: &str = "b8d2d410cca2529a6a2aa2b13b851c29358777c4752adda486c0b6a282185c1f";

    const SOURCES: [&str; 5] = [
        include_str!("../evaluate.rs"),
        include_str!("extensions.rs"),
        include_str!("extensions/cidr.rs"),
        include_str!("extensions/hash.rs"),
        include_str!("extensions/jwt.rs"),
    ];
    const MANIFEST: &str = include_str!("../../../Cargo.toml");
    const LOCK: &str = include_str!("../../../Cargo.lock");
    /// The engine, and what our functions are made of.
    const CRATES: [&str; 3] = ["ipnet", "jsonwebtoken", "regorus"];

    /// The lines that say which versions of a crate there are, and with which features.
    fn of_crate(name: &str) -> Vec<&str> {
        let features = MANIFEST.lines().filter(|line| line.starts_with(&format!("{name} = ")));
        let locked = LOCK.split("\n\n").filter(|entry| entry.contains(&format!("name = \"{name}\"\n")));
        let is_told = |line: &&str| line.starts_with("version") || line.starts_with("checksum");
        features.chain(locked.flat_map(str::lines).filter(is_told)).collect()
    }

    #[test]
    fn changes_with_what_evaluates() {
        // The tests at the end of a file evaluate nothing.
        let code = SOURCES.map(|source| source.split("#[cfg(test)]").next().unwrap_or_default());
        let crates: Vec<&str> = CRATES.iter().flat_map(|name| of_crate(name)).collect();
        assert!(crates.len() >= 9, "{crates:?}");
        let text = format!("{}\n{}", code.concat(), crates.join("\n"));
        let found = hex::encode(digest(&SHA256, text.as_bytes()));
        assert_eq!(
            found, PINNED,
            "what evaluates is another one than that of revision {REVISION}: raise it if a test may come to something \
             else by that, and pin the digest that was found"
        );
    }
}
