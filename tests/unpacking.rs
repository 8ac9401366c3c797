//! What a format says that its loader computes, against the loader itself: its module is run on unknown
//! words, and each operation on one is counted. What the unit's place in the loop decides costs nothing,
//! as the kernels' compilers unroll it.

use std::collections::HashMap;

use naga::{
    BinaryOperator, Expression, Function, Handle, Literal, MathFunction, Module, ScalarKind, Statement,
};
use naga::{TypeInner, VectorSize};
use ridgepoint::gpu::{Program, expand};
use ridgepoint::quant::{FORMATS, Format, Unpacking};

const KERNEL: &str = "
#import lib/weights
@group(0) @binding(0) var<storage, read> wq: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> waux: array<u32>;
@group(0) @binding(2) var<uniform> sizes: Weights;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
#import lib/dequantise

@compute @workgroup_size(1)
fn main() {
    let b = block_load(0u, 0u, sizes);
    for (var i = 0u; i < 8u; i++) { out[i] = numbers(b, i); }
}
";

/// What is known of a value while the loader runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    /// This number, a bool as 0 or 1.
    Number(f64),
    /// Known to the compiler, whatever it is.
    Constant,
    /// Read from memory, or made of what was.
    Unknown,
}
use Value::{Constant, Number, Unknown};

/// One call of a function, whose expressions are computed when they are first asked for.
struct Call<'a> {
    module: &'a Module,
    function: &'a Function,
    info: &'a naga::valid::FunctionInfo,
    all: &'a naga::valid::ModuleInfo,
    arguments: Vec<Value>,
    done: HashMap<Handle<Expression>, Value>,
    locals: HashMap<Handle<naga::LocalVariable>, Value>,
    count: Unpacking,
}

const NOTHING: Unpacking = Unpacking { int: 0, float: 0 };

fn call(
    module: &Module,
    all: &naga::valid::ModuleInfo,
    name: &str,
    arguments: Vec<Value>,
) -> (Unpacking, Value) {
    let named = |f: &Function| f.name.as_deref() == Some(name);
    let (handle, function) =
        module.functions.iter().find(|(_, f)| named(f)).unwrap_or_else(|| panic!("no function {name}"));
    let mut call = Call {
        module,
        function,
        info: &all[handle],
        all,
        arguments,
        done: HashMap::new(),
        locals: HashMap::new(),
        count: NOTHING,
    };
    let value = call.run(&function.body).unwrap_or_else(|| panic!("{name} returns nothing"));
    (call.count, value)
}

impl Call<'_> {
    fn run(&mut self, block: &naga::Block) -> Option<Value> {
        for statement in block {
            match statement {
                Statement::Emit(_) => {}
                Statement::Block(inner) => {
                    if let Some(value) = self.run(inner) {
                        return Some(value);
                    }
                }
                Statement::Store { pointer, value } => {
                    let Expression::LocalVariable(local) = self.function.expressions[*pointer] else {
                        panic!("a loader stores into what is no variable of its own")
                    };
                    let value = self.value(*value);
                    self.locals.insert(local, value);
                }
                Statement::If { condition, accept, reject } => {
                    let taken = match self.value(*condition) {
                        Number(0.0) => reject,
                        Number(_) => accept,
                        other => panic!("a branch on {other:?}: its cost is not one number"),
                    };
                    if let Some(value) = self.run(taken) {
                        return Some(value);
                    }
                }
                Statement::Call { function, arguments, result } => {
                    let arguments = arguments.iter().map(|a| self.value(*a)).collect();
                    let name = self.module.functions[*function].name.clone().unwrap();
                    let (count, value) = call(self.module, self.all, &name, arguments);
                    self.count =
                        Unpacking { int: self.count.int + count.int, float: self.count.float + count.float };
                    result.map(|handle| self.done.insert(handle, value));
                }
                Statement::Return { value } => return value.map(|value| self.value(value)),
                other => panic!("a loader has {other:?}, which this test doesn't count"),
            }
        }
        None
    }

    fn value(&mut self, handle: Handle<Expression>) -> Value {
        if let Some(value) = self.done.get(&handle) {
            return *value;
        }
        let value = self.compute(handle);
        // A variable may change until it is read again.
        if !matches!(self.function.expressions[handle], Expression::Load { .. }) {
            self.done.insert(handle, value);
        }
        value
    }

    /// Counts `each` operations for every component of an expression.
    fn counted(&mut self, handle: Handle<Expression>, kind: ScalarKind, each: u64) -> Value {
        let n = each * self.components(handle);
        match kind {
            ScalarKind::Float => self.count.float += n,
            _ => self.count.int += n,
        }
        Unknown
    }

    fn inner(&self, handle: Handle<Expression>) -> &TypeInner {
        self.info[handle].ty.inner_with(&self.module.types)
    }

    fn kind(&self, handle: Handle<Expression>) -> ScalarKind {
        self.inner(handle).scalar_kind().unwrap()
    }

    fn components(&self, handle: Handle<Expression>) -> u64 {
        match self.inner(handle) {
            TypeInner::Vector { size: VectorSize::Bi, .. } => 2,
            TypeInner::Vector { size: VectorSize::Tri, .. } => 3,
            TypeInner::Vector { size: VectorSize::Quad, .. } => 4,
            _ => 1,
        }
    }

    /// Known if all parts are.
    fn joined(&mut self, parts: &[Handle<Expression>]) -> Value {
        let values: Vec<Value> = parts.iter().map(|p| self.value(*p)).collect();
        if values.contains(&Unknown) { Unknown } else { Constant }
    }

    fn constant(&self, handle: Handle<Expression>) -> Value {
        match &self.module.global_expressions[handle] {
            Expression::Literal(literal) => number(*literal),
            _ => Constant,
        }
    }

    fn compute(&mut self, handle: Handle<Expression>) -> Value {
        match &self.function.expressions[handle] {
            Expression::Literal(literal) => number(*literal),
            Expression::Constant(c) => self.constant(self.module.constants[*c].init),
            Expression::ZeroValue(_) => Constant,
            Expression::FunctionArgument(i) => self.arguments[*i as usize],
            Expression::Compose { components, .. } => self.joined(components),
            Expression::Splat { value, .. } => self.value(*value),
            Expression::AccessIndex { base: of, .. } | Expression::Swizzle { vector: of, .. } => {
                self.joined(&[*of])
            }
            Expression::Access { base, index } => self.joined(&[*base, *index]),
            Expression::Load { pointer } => {
                let Expression::LocalVariable(local) = self.function.expressions[*pointer] else {
                    panic!("a loader reads memory beyond its block")
                };
                self.locals[&local]
            }
            Expression::Unary { expr, .. } => match self.value(*expr) {
                Number(v) => Number(f64::from(v == 0.0)),
                Constant => Constant,
                Unknown => self.counted(handle, self.kind(*expr), 1),
            },
            Expression::Binary { op, left, right } => self.binary(handle, *op, *left, *right),
            Expression::Select { condition, accept, reject } => match self.value(*condition) {
                Number(0.0) => self.value(*reject),
                Number(_) => self.value(*accept),
                other => panic!("a choice by {other:?}: its cost is not one number"),
            },
            Expression::As { expr, convert, .. } => {
                let value = self.value(*expr);
                match convert {
                    // The same bits.
                    None => value,
                    Some(_) if value != Unknown => value,
                    Some(_) => self.counted(handle, ScalarKind::Float, 1),
                }
            }
            Expression::Math { fun, arg, arg1, arg2, .. } => {
                let parts: Vec<_> = [Some(*arg), *arg1, *arg2].into_iter().flatten().collect();
                if self.joined(&parts) != Unknown {
                    return Constant;
                }
                match fun {
                    MathFunction::Unpack4xI8 | MathFunction::Unpack4xU8 => {
                        self.counted(handle, ScalarKind::Uint, 1)
                    }
                    MathFunction::Unpack2x16float => self.counted(handle, ScalarKind::Float, 1),
                    MathFunction::Fma => self.counted(handle, ScalarKind::Float, 2),
                    other => panic!("a loader has {other:?}, which this test doesn't count"),
                }
            }
            other => panic!("a loader has {other:?}, which this test doesn't count"),
        }
    }

    fn binary(
        &mut self,
        handle: Handle<Expression>,
        op: BinaryOperator,
        left: Handle<Expression>,
        right: Handle<Expression>,
    ) -> Value {
        use BinaryOperator as Op;
        match (self.value(left), self.value(right)) {
            (Number(a), Number(b)) => {
                let (m, n) = (a as u32, b as u32);
                Number(match op {
                    Op::ShiftRight => f64::from(m >> n),
                    Op::ShiftLeft => f64::from(m << n),
                    Op::And => f64::from(m & n),
                    Op::Multiply => a * b,
                    Op::Subtract => a - b,
                    Op::Add => a + b,
                    Op::GreaterEqual => f64::from(a >= b),
                    Op::Equal => f64::from(a == b),
                    other => panic!("a loader has {other:?} of constants, which this test doesn't compute"),
                })
            }
            // No operation.
            (value, Number(0.0)) if matches!(op, Op::ShiftLeft | Op::ShiftRight) => value,
            (Unknown, _) | (_, Unknown) => self.counted(handle, self.kind(left), 1),
            _ => Constant,
        }
    }
}

fn number(literal: Literal) -> Value {
    match literal {
        Literal::U32(v) => Number(f64::from(v)),
        Literal::I32(v) => Number(f64::from(v)),
        Literal::F32(v) => Number(f64::from(v)),
        Literal::Bool(v) => Number(f64::from(v)),
        _ => Constant,
    }
}

fn counted(format: &dyn Format) -> Unpacking {
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let program = Program::of_text("loaders", KERNEL).text("FORMAT", format.name().to_lowercase());
    let module = naga::front::wgsl::parse_str(&expand(&program).unwrap()).unwrap();
    let needs = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let info = Validator::new(ValidationFlags::all(), needs).validate(&module).unwrap();
    let (mut sum, block) = call(&module, &info, "block", vec![Unknown; 3]);
    for i in 0..8 {
        let (count, _) = call(&module, &info, "numbers", vec![block, Number(f64::from(i))]);
        sum = Unpacking { int: sum.int + count.int, float: sum.float + count.float };
    }
    sum
}

#[test]
fn every_format_says_what_its_loader_computes() {
    for &format in FORMATS {
        assert_eq!(format.unpacking(), counted(format), "{format:?}");
        // And so does the loader's head.
        let name = format.name().to_lowercase();
        let path = format!("{}/shaders/quant/{name}.wgsl", env!("CARGO_MANIFEST_DIR"));
        let Unpacking { int, float } = format.unpacking();
        let line = format!("// Cost per 32 weights: {int} integer and {float} float operations");
        assert!(std::fs::read_to_string(path).unwrap().contains(&line), "{name}.wgsl has no '{line}'");
    }
}

#[test]
fn hand_counted_q4_1() {
    // Four words shifted for the upper nibbles, eight masked, 32 bytes taken out of them; scale and
    // minimum and 32 bytes made floats, 32 multiply-adds.
    assert_eq!(
        counted(ridgepoint::quant::by_name("Q4_1").unwrap()),
        Unpacking { int: 4 + 8 + 32, float: 2 + 32 + 64 }
    );
}
