//! Loading a module and starting an Envoy with it.

use kt_filter_host::{Host, LoadError, StartError};

use super::{probe, samples};

#[test]
fn a_missing_module_names_the_command_that_builds_it() {
    let error = Host::load("/nowhere/kt_filter.wasm").unwrap_err();
    let words = error.to_string();
    assert!(words.contains("/nowhere/kt_filter.wasm") && words.contains("make wasm"), "{words}");
}

#[test]
fn an_import_that_no_envoy_has_keeps_the_module_from_loading() {
    let module = r#"(module (import "env" "proxy_teleport" (func (param i32))))"#;
    let error = Host::compile(module).unwrap_err();
    assert!(matches!(&error, LoadError::Unfit(why) if why.contains("proxy_teleport")), "{error}");
}

#[test]
fn a_filter_that_refuses_its_configuration_keeps_envoy_from_starting() {
    assert_eq!(probe("R").start().unwrap_err(), StartError::Rejected);
}

#[test]
fn the_main_thread_has_a_vm_that_ticks_beside_one_per_worker() {
    let envoy = probe("p").workers(2).start().unwrap();
    assert_eq!(envoy.vms().len(), 3);
    envoy.advance(std::time::Duration::from_millis(250));
    assert_eq!(samples(&envoy, "tick").len(), 6);
}
