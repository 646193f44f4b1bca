//! `mall docs`: makes the documents anew that a test compares with the code.

use std::time::Duration;

use crate::{
    build::{self, cargo, colours},
    errors::{Error, Result},
    paths::Repo,
    ui,
};

/// Most of it is building.
const LIMIT: Duration = Duration::from_secs(3600);

/// The tests that compare, and write when they are told to.
const TESTS: [&str; 2] =
    ["the_documents_are_what_the_code_says", "the_document_says_of_every_saga_what_its_definition_says"];

/// Writes them.
pub async fn write(repo: &Repo) -> Result<()> {
    let task = ui::task("Making the documents");
    let mut progress = build::Progress::default();
    let log = repo.home().log("docs");
    // The same packages as in `mall test`: with `-p` cargo would choose other features and compile the AWS SDK anew.
    let done = cargo("cargo test --test documents", LIMIT)
        .args(["test", "--workspace", "--test", "documents", "--test", "sagas", "--", "--exact"])
        .args(TESTS)
        .envs(colours())
        .envs([("MALL_WRITE_DOCS", "1")])
        .dir(repo.root())
        .log(&log)
        .watched(|_, line| task.at(progress.see(line)))
        .await?;
    if !done.success() {
        return Err(Error::Docs { said: said(&done.output) });
    }
    task.done("docs/, events/schemas/: written");
    Ok(())
}

/// Why it refused; or, when it did not even build, the end of what was said.
fn said(output: &str) -> String {
    let panic = output.split(" panicked at ").nth(1).and_then(|rest| rest.split_once('\n'));
    match panic {
        Some((_, reason)) => {
            let ends = ["\nnote: ", "\nstack backtrace:", "\n\n"];
            let end = ends.iter().filter_map(|end| reason.find(end)).min().unwrap_or(reason.len());
            reason[..end].trim().to_owned()
        }
        None => crate::files::last_lines(output, 30),
    }
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn a_refusal_is_told_by_its_reason_alone() {
        let output = "running 1 test\nthread 'a' (7) panicked at tests/documents.rs:9:9:\nnothing was written\nx: is gone\nnote: run with RUST_BACKTRACE\n\nfailures:";
        assert_eq!(said(output), "nothing was written\nx: is gone");
        let traced = output.replace("note: run", "stack backtrace:\n   0: rust_begin\nnote: run");
        assert_eq!(said(&traced), "nothing was written\nx: is gone");
        assert_eq!(said("error: could not compile"), "error: could not compile");
    }
}
