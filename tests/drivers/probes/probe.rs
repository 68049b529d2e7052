// By the snippet's environment: one line in, one line out.
use std::{collections::HashMap, env, error::Error, fs, io::BufRead, time::Duration};

use native_tls::{Certificate, TlsConnector};
use postgres_native_tls::MakeTlsConnector;
use tokio_postgres::{types::Type, Client, Config, SimpleQueryMessage, Statement};

type Said = Result<String, Box<dyn Error>>;

fn tls() -> Result<MakeTlsConnector, Box<dyn Error>> {
    let ca = Certificate::from_pem(&fs::read(env::var("CA")?)?)?;
    Ok(MakeTlsConnector::new(TlsConnector::builder().disable_built_in_roots(true).add_root_certificate(ca).build()?))
}

async fn first(client: &Client, sql: &str) -> Said {
    for message in client.simple_query(sql).await? {
        if let SimpleQueryMessage::Row(row) = message {
            return Ok(row.get(0).unwrap_or("-").to_string());
        }
    }
    Ok("-".to_string())
}

async fn answer(open: &mut HashMap<String, Client>, kept: &mut HashMap<String, Statement>, verb: &str, name: &str, rest: &str) -> Said {
    if verb == "open" {
        let mut config: Config = env::var("DATABASE")?.parse()?;
        config.password(env::var("PGPASSWORD")?);
        let (client, connection) = config.connect(tls()?).await?;
        tokio::spawn(connection);
        open.insert(name.to_string(), client);
        return Ok("-".to_string());
    }
    let client = open.get_mut(name).ok_or("not open")?;
    match verb {
        "do" => first(client, rest).await,
        "ask" => {
            let number: i32 = if env::var("TYPED").is_ok() {
                client.query_typed("SELECT 6 * $1::int", &[(&7i32, Type::INT4)]).await?[0].get(0)
            } else {
                client.query_one("SELECT 6 * $1::int", &[&7i32]).await?.get(0)
            };
            Ok(number.to_string())
        }
        "named" => {
            if !kept.contains_key(name) {
                kept.insert(name.to_string(), client.prepare("SELECT 5 + 6 * $1::int - 5").await?);
            }
            let number: i32 = client.query_one(&kept[name], &[&7i32]).await?.get(0);
            Ok(number.to_string())
        }
        "cursor" => {
            let transaction = client.transaction().await?;
            transaction.batch_execute(&format!("DECLARE c CURSOR FOR SELECT generate_series(1, {rest})")).await?;
            let count = transaction.simple_query("FETCH ALL c").await?.iter().filter(|each| matches!(each, SimpleQueryMessage::Row(_))).count();
            transaction.commit().await?;
            Ok(count.to_string())
        }
        "big" => {
            let rows = client.simple_query(&format!("SELECT generate_series(1, {rest})")).await?;
            Ok(rows.iter().filter(|each| matches!(each, SimpleQueryMessage::Row(_))).count().to_string())
        }
        "cancel" => {
            let token = client.cancel_token();
            let connector = tls()?;
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                if let Err(error) = token.cancel_query(connector).await {
                    eprintln!("{error}");
                }
            });
            first(client, "SELECT pg_sleep(8)").await
        }
        "copy" | "heard" => Ok("none".to_string()),
        _ => Ok("-".to_string()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut open, mut kept) = (HashMap::new(), HashMap::new());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.splitn(3, ' ');
        let (verb, name, rest) = (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
        let said = match answer(&mut open, &mut kept, verb, name, rest).await {
            Ok(said) => said,
            Err(error) => {
                let mut text = error.to_string();
                let mut cause = error.source();
                while let Some(each) = cause {
                    text = format!("{text}: {each}");
                    cause = each.source();
                }
                format!("error: {text}")
            }
        };
        println!("= {}", said.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    Ok(())
}
