//! The oracle: `tests/interop/go/opaoracle`, asked line by line.

use std::{
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{SyncSender, sync_channel},
    thread::JoinHandle,
};

use crate::set::Set;

/// How many questions may wait for their answers.
pub(crate) const IN_FLIGHT: usize = 256;

/// OPA's compiler in a process of its own. Answers come in the order of the questions.
pub(crate) struct Oracle {
    process: Child,
    questions: Option<SyncSender<String>>,
    writer: Option<JoinHandle<io::Result<()>>>,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    pub(crate) fn start(program: &Path, version: &str) -> io::Result<Self> {
        let mut process = Command::new(program)
            .args(["check", version])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::other("the oracle has no standard input or output");
        let stdin = process.stdin.take().ok_or_else(missing)?;
        let answers = BufReader::new(process.stdout.take().ok_or_else(missing)?);
        let (questions, asked) = sync_channel::<String>(IN_FLIGHT);
        let writer = std::thread::spawn(move || {
            let mut stdin = BufWriter::new(stdin);
            // The oracle answers when it has read all there is: so what was asked is sent before waiting for more.
            while let Ok(first) = asked.recv() {
                stdin.write_all(first.as_bytes())?;
                for next in asked.try_iter() {
                    stdin.write_all(next.as_bytes())?;
                }
                stdin.flush()?;
            }
            Ok(())
        });
        Ok(Self { process, questions: Some(questions), writer: Some(writer), answers })
    }

    pub(crate) fn ask(&self, set: &Set) -> io::Result<()> {
        let mut line = serde_json::to_string(set)?;
        line.push('\n');
        let gone = |_| io::Error::other("the oracle has ended");
        self.questions.as_ref().map_or(Ok(()), |questions| questions.send(line).map_err(gone))
    }

    pub(crate) fn answer(&mut self) -> io::Result<Set> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Waits for its end, when everything has been answered.
    pub(crate) fn end(mut self) -> io::Result<()> {
        self.questions = None;
        if let Some(Ok(result)) = self.writer.take().map(JoinHandle::join) {
            result?;
        }
        self.process.wait().map(drop)
    }
}
