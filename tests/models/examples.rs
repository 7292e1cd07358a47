//! The examples of the engine and the model layer, which assert what they find.

#[path = "../../examples/custom_op.rs"]
mod custom_op;
#[path = "../../examples/hvp.rs"]
mod hvp;
#[path = "../../examples/mlp.rs"]
mod mlp;

#[test]
fn a_user_s_op_has_a_kernel_and_derivatives() {
    custom_op::main().expect("it runs on every executor");
}

#[test]
fn products_go_through_batch_normalization() {
    hvp::main().expect("every op has its rules");
}

#[test]
fn a_perceptron_learns() {
    mlp::main().expect("it fits");
}
