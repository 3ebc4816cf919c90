fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let environment: Vec<(String, String)> = std::env::vars().collect();
    holdfast_server::run::run(&arguments, &environment, Box::new(holdfast_server::engine::EngineBoot))
}
