mod any_input;
mod examples;
