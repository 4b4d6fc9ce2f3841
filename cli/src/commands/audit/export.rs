//! A log in a file: one JSON document a line, to be verified without the CA.
//!
//! ```text
//! {"format":"secplane-audit-1","log":"<replica>","public_key":"secplane-audit/…","checkpoint":"<signed note>"}
//! {"block":0,"root":"<base64>"}
//! {"index":0,"leaf":"<base64>"}
//! ```
//!
//! The stored root of a block comes before the 256 entries of the block.

use std::{
    fs::{File, Permissions},
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use ca_daemon::audit::{BLOCK_ENTRIES, MAX_LEAF_BYTES};
use secplane_proto::secplane::ca::v1::{AuditBlock, AuditEntry};
use serde::{Deserialize, Serialize};

use super::{ExportArgs, fetch::Log};
use crate::{
    failure::{Failure, Kind},
    files,
    output::{Report, facts},
};

const FORMAT: &str = "secplane-audit-1";
/// A leaf in base64, and what is around it.
const MAX_LINE_BYTES: usize = MAX_LEAF_BYTES * 2 + 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    format: String,
    pub(super) log: String,
    pub(super) public_key: String,
    pub(super) checkpoint: String,
}

/// What follows the header.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Block { block: u64, root: String },
    Entry { index: u64, leaf: String },
}

/// What an exported log is made of.
pub(super) enum Part {
    /// The stored root of a block.
    Block(u64, Vec<u8>),
    /// An entry.
    Entry(u64, Vec<u8>),
}

pub(super) async fn export(args: &ExportArgs) -> Result<ExportReport, Failure> {
    let log = Log::open(&args.ca.connect().await?, args.replica.as_deref()).await?;
    let checkpoint = log.signed_checkpoint(&[])?;
    let size = checkpoint.signed.checkpoint.size;
    let mut blocks = log.blocks(size).await?.into_iter().peekable();
    let failed = |error: io::Error| Failure::from_io(format!("write `{}`", args.out.display()), &error);

    let folder = args.out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(files::SECRET))
        .tempfile_in(folder)
        .map_err(failed)?;
    let mut writer = BufWriter::new(file);
    let header = Header {
        format: FORMAT.to_owned(),
        log: log.id().to_owned(),
        public_key: checkpoint.key.to_string(),
        checkpoint: checkpoint.text.clone(),
    };
    write_line(&mut writer, &header).map_err(failed)?;
    let mut entries = 0;
    let write_entry = |AuditEntry { index, leaf, .. }: AuditEntry| {
        while let Some(AuditBlock { block, root }) =
            blocks.next_if(|next| next.block <= index / BLOCK_ENTRIES)
        {
            let root = BASE64_STANDARD.encode(root);
            write_line(&mut writer, &Line::Block { block, root }).map_err(failed)?;
        }
        entries += 1;
        let leaf = BASE64_STANDARD.encode(leaf);
        write_line(&mut writer, &Line::Entry { index, leaf }).map_err(failed)
    };
    log.each_entry(size, write_entry).await?;
    let file = writer.into_inner().map_err(|error| failed(error.into_error()))?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&args.out).map_err(|error| failed(error.error))?;
    Ok(ExportReport {
        file: args.out.display().to_string(),
        log: header.log,
        entries,
        public_key: header.public_key,
    })
}

fn write_line(writer: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, line)?;
    writer.write_all(b"\n")
}

/// An exported log that is being read.
pub(super) struct ExportedLog {
    path: String,
    lines: BufReader<File>,
    number: usize,
    pub(super) header: Header,
}

impl ExportedLog {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let file = File::open(path).map_err(|error| Failure::from_io(format!("read `{shown}`"), &error))?;
        let header = Header {
            format: String::new(),
            log: String::new(),
            public_key: String::new(),
            checkpoint: String::new(),
        };
        let mut log = Self { path: shown, lines: BufReader::new(file), number: 0, header };
        let first = log.next_line()?.ok_or_else(|| log.unreadable("it is empty"))?;
        log.header = serde_json::from_slice(&first).map_err(|error| log.unreadable(error))?;
        if log.header.format != FORMAT {
            return Err(log.unreadable(format_args!("its form is `{}`, not `{FORMAT}`", log.header.format)));
        }
        Ok(log)
    }

    /// The next part; `None` at the end.
    pub(super) fn next_part(&mut self) -> Result<Option<Part>, Failure> {
        let Some(line) = self.next_line()? else { return Ok(None) };
        let line = serde_json::from_slice(&line)
            .map_err(|_| self.unreadable("it is neither a block nor an entry"))?;
        let decode = |text: &str| {
            BASE64_STANDARD.decode(text).map_err(|_| self.unreadable("it holds something other than base64"))
        };
        Ok(Some(match line {
            Line::Block { block, root } => Part::Block(block, decode(&root)?),
            Line::Entry { index, leaf } => Part::Entry(index, decode(&leaf)?),
        }))
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut line = Vec::new();
        self.number += 1;
        let limit = MAX_LINE_BYTES as u64;
        let read = (&mut self.lines).take(limit).read_until(b'\n', &mut line);
        match read {
            Err(error) => Err(Failure::from_io(format!("read `{}`", self.path), &error)),
            Ok(0) => Ok(None),
            Ok(MAX_LINE_BYTES) => Err(self.unreadable("it is longer than any entry")),
            Ok(_) if line.last() != Some(&b'\n') => Err(self.unreadable("it is cut off")),
            Ok(_) => Ok(Some(line)),
        }
    }

    fn unreadable(&self, why: impl std::fmt::Display) -> Failure {
        let what = format!("read the exported log `{}`", self.path);
        Failure::new(Kind::Refused, what, format_args!("line {}: {why}", self.number))
    }
}

#[derive(Serialize)]
pub(super) struct ExportReport {
    file: String,
    log: String,
    entries: u64,
    public_key: String,
}

impl Report for ExportReport {
    fn table(&self) -> String {
        facts([
            ("Wrote", self.file.clone()),
            ("Log", self.log.clone()),
            ("Entries", self.entries.to_string()),
            ("Public key", self.public_key.clone()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HEADER: &str =
        "{\"format\":\"secplane-audit-1\",\"log\":\"a\",\"public_key\":\"k\",\"checkpoint\":\"c\"}\n";

    fn read(text: &str) -> Result<usize, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, text).unwrap();
        let mut log = ExportedLog::open(&path)?;
        let mut parts = 0;
        while log.next_part()?.is_some() {
            parts += 1;
        }
        Ok(parts)
    }

    #[test]
    fn reads_blocks_and_entries() {
        let text = format!("{HEADER}{{\"block\":0,\"root\":\"AAAA\"}}\n{{\"index\":0,\"leaf\":\"AAAA\"}}\n");
        assert_eq!(read(&text).unwrap(), 2);
    }

    #[rstest]
    #[case("", "line 1: it is empty")]
    #[case("{}\n", "line 1")]
    #[case("{\"format\":\"other\",\"log\":\"a\",\"public_key\":\"k\",\"checkpoint\":\"c\"}\n", "`other`")]
    #[case(&format!("{HEADER}{{\"index\":0,\"leaf\":\"!\"}}\n"), "line 2: it holds something other than base64")]
    #[case(&format!("{HEADER}{{\"index\":0}}\n"), "line 2: it is neither")]
    #[case(&format!("{HEADER}{{\"index\":0,\"leaf\":\"AAAA\"}}"), "line 2: it is cut off")]
    #[case(&format!("{HEADER}{}", "x".repeat(100_000)), "line 2: it is longer")]
    fn says_which_line_is_no_log(#[case] text: &str, #[case] why: &str) {
        let failure = read(text).unwrap_err();
        assert_eq!(failure.kind(), Kind::Refused);
        assert!(failure.to_string().contains(why), "{failure}");
    }
}
