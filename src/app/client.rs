//! A conversation with a store, or with a server of plain lines.

use std::io::IsTerminal;

use crate::app::error::{Error, exit};
use crate::cli::{ClientArgs, DialectArg};
use crate::client::{self, Address, Config, Dialect, Protocol, Work};

pub(super) fn client(args: &ClientArgs) -> Result<u8, Error> {
    let is_well = client::run(&config(args)?)?;
    Ok(if is_well { exit::PASSED } else { exit::UNEXPECTED })
}

fn config(args: &ClientArgs) -> Result<Config, Error> {
    let dialect = args.dialect.map(|dialect| match dialect {
        DialectArg::Resp => Dialect::Resp,
        DialectArg::Text => Dialect::Text,
    });
    let mut address = Address::parse(&args.addr)?.speaking(dialect, &args.addr)?;
    let password = args.password.clone().filter(|password| !password.is_empty());
    address.password = address.password.take().or(password);
    let protocol = match args.resp {
        None => Protocol::Newest,
        Some(2) => Protocol::Resp2,
        Some(_) => Protocol::Resp3,
    };
    let (timeout, patience) = (args.timeout.as_duration(), args.patience.as_duration());
    Ok(Config { address, protocol, timeout, patience, work: work(args) })
}

fn work(args: &ClientArgs) -> Work {
    let (stdin, stdout) = (std::io::stdin().is_terminal(), std::io::stdout().is_terminal());
    match () {
        () if !args.execute.is_empty() => Work::Commands(args.execute.clone()),
        () if args.pipe => Work::Pipe,
        () if !stdin => Work::Lines,
        () => {
            let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            Work::Prompt { colour: stdout && !no_colour }
        }
    }
}
