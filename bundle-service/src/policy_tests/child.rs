//! A child process that runs tests: started, spoken to, waited for, and ended when it takes too long.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use super::{
    TestFailure, TestLimits, TestReport, TestRequest, Tester, WORKER_COMMAND,
    worker::{Answer, MAX_MESSAGE_BYTES},
};

/// Runs tests in a program with [`WORKER_COMMAND`].
#[derive(Debug, Clone)]
pub struct ChildTester {
    program: PathBuf,
    limits: TestLimits,
}

impl ChildTester {
    /// Runs tests in this very program.
    ///
    /// # Errors
    /// When the system does not say which it is.
    pub fn this_program(limits: TestLimits) -> io::Result<Self> {
        Ok(Self::new(std::env::current_exe()?, limits))
    }

    /// Runs tests in another program that has the subcommand.
    #[must_use]
    pub fn new(program: PathBuf, limits: TestLimits) -> Self {
        Self { program, limits }
    }

    fn start(&self) -> io::Result<Child> {
        let seconds = self.limits.all.as_secs().max(1).to_string();
        let arguments: [OsString; 3] =
            [WORKER_COMMAND.into(), seconds.into(), self.limits.memory.to_string().into()];
        Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
    }
}

impl Tester for ChildTester {
    fn run(&self, request: &TestRequest) -> Result<TestReport, TestFailure> {
        let failed = |error: &dyn std::fmt::Display| TestFailure::Start(error.to_string());
        let request = serde_json::to_vec(request).map_err(|error| failed(&error))?;
        let mut child = self.start().map_err(|error| failed(&error))?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(TestFailure::Start("the child has no pipes".to_owned()));
        };
        let writer = thread::spawn(move || {
            // A child that ends early closes its end, which its answer explains.
            let _ = stdin.write_all(&request);
        });
        let (sender, receiver) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut answer = Vec::new();
            let read = stdout.take(MAX_MESSAGE_BYTES).read_to_end(&mut answer);
            let _ = sender.send(read.map(|_| answer));
        });
        let answer = receiver.recv_timeout(self.limits.all);
        if answer.is_err() {
            // It may have ended by itself in the same moment.
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| failed(&error))?;
        // Both pipes are closed by now, so both threads end.
        let _ = (writer.join(), reader.join());
        let over = |how: &str| TestFailure::Limits(how.to_owned());
        let answer = answer.map_err(|_| over(&format!("{:?} were over", self.limits.all)))?;
        let answer = answer.map_err(|error| failed(&error))?;
        if !status.success() {
            return Err(over(&format!("the process ended with {status}")));
        }
        match serde_json::from_slice(&answer) {
            Ok(Answer::Report(report)) => Ok(report),
            Ok(Answer::Load(why)) => Err(TestFailure::Load(why)),
            Err(error) => Err(failed(&error)),
        }
    }

    fn limits(&self) -> Option<TestLimits> {
        Some(self.limits)
    }
}
