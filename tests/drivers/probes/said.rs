// Tries connections, one a line: its name, tokio-postgres's string and the CA's file, parted by tabs; and says of each what was said.
use std::{error::Error, fs, io::BufRead, time::Duration};

use native_tls::{Certificate, TlsConnector};
use postgres_native_tls::MakeTlsConnector;
use tokio_postgres::Config;

async fn attempt(database: &str, ca: &str) -> Result<(), Box<dyn Error>> {
    let config: Config = database.parse()?;
    let ca = Certificate::from_pem(&fs::read(ca)?)?;
    let connector = TlsConnector::builder().disable_built_in_roots(true).add_root_certificate(ca).build()?;
    tokio::time::timeout(Duration::from_secs(3), config.connect(MakeTlsConnector::new(connector))).await??;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split('\t').collect();
        let mut said = String::new();
        if let Err(error) = attempt(words[1], words[2]).await {
            said = error.to_string();
            let mut cause = error.source();
            while let Some(each) = cause {
                said = format!("{said}: {each}");
                cause = each.source();
            }
        }
        println!("{}\t{}", words[0], said.split_whitespace().collect::<Vec<_>>().join(" "));
    }
}
