//! Compiles the protobuf schemas with protox, so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let schemas = ["common", "incident", "alert", "ledger", "archive"].map(|name| format!("lastgood/v1/{name}.proto"));
    let descriptors = protox::compile(&schemas, ["."])?;
    prost_build::Config::new().btree_map(["."]).compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=lastgood");
    Ok(())
}
