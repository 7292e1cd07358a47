//! Sessions: what goes into a program and how it is called, states, and what they are compiled for.

use hillshade::engine::{Data, Error, Graph, Inputs, Key, Program, Session, Target, Var};

use crate::common::{gpu, pollster_block};

fn sessions() -> [Session; 3] {
    [Session::device(gpu(false)), Session::host(), Session::reference()]
}

/// What a program gives on these inputs.
fn run<'a>(program: &mut Program, session: &mut Session, y: Var, inputs: impl Into<Inputs<'a>>) -> Vec<f32> {
    program.run(session, inputs).expect("the inputs fit");
    program.read_now(session, y).expect("an output")
}

/// By name, by handle, or by number beside a graph that is gone; in an array, a slice or a vector.
#[test]
fn inputs_are_known_by_name_or_handle() {
    let g = Graph::new();
    let (x, index) = (g.input("x", &[3, 2]), g.input_u32("index", &[2]));
    let y = x.gather(index);
    let rows = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    for mut session in sessions() {
        let mut program = session.compile(&g, &[y]).expect("it fits");
        let mut check = |inputs: Inputs, want: [f32; 4]| {
            let got = run(&mut program, &mut session, y.var(), inputs);
            assert_eq!(got, want, "{}", session.executor());
        };
        // Each run has an index of its own: none takes what another one left.
        let names = [("x", Data::F32(&rows)), ("index", Data::U32(&[0, 1]))];
        check(names.into(), [0.0, 1.0, 2.0, 3.0]);
        let handles = [(x, Data::F32(&rows)), (index, Data::U32(&[1, 2]))];
        check(handles.into(), [2.0, 3.0, 4.0, 5.0]);
        let numbers = [(index.var(), Data::U32(&[2, 0])), (x.var(), Data::F32(&rows))];
        check((&numbers).into(), [4.0, 5.0, 0.0, 1.0]);
        let vector = vec![(x, Data::F32(&rows)), (index, Data::U32(&[0, 0]))];
        check((&vector).into(), [0.0, 1.0, 0.0, 1.0]);
        let mixed = [(Key::from("index"), Data::U32(&[2, 1])), (Key::from(x), Data::F32(&rows))];
        check(mixed[..].into(), [4.0, 5.0, 2.0, 3.0]);

        // A handle that is no input stands for none.
        let missing = program.run(&mut session, [(y, Data::F32(&rows)), (index, Data::U32(&[0, 1]))]);
        assert!(matches!(missing, Err(Error::Name { what: "input", name, .. }) if name == "x"));
        let none = program.run(&mut session, ());
        assert!(matches!(none, Err(Error::Name { what: "input", .. })), "{none:?}");
    }
}

/// Numbers in place of handles, and data as it comes, once the graph is gone.
#[test]
fn programs_outlive_their_graphs() {
    for mut session in sessions() {
        let (mut program, x, y) = {
            let g = Graph::new();
            let x = g.input("x", &[3]);
            let y = x * 2.0;
            (session.compile(&g, &[y]).expect("it fits"), x.var(), y.var())
        };
        let data = vec![1.0, 2.0, 3.0];
        assert_eq!(run(&mut program, &mut session, y, [(x, &data)]), [2.0, 4.0, 6.0]);
        assert_eq!(run(&mut program, &mut session, y, [("x", &data[..])]), [2.0, 4.0, 6.0]);
    }
}

#[test]
fn programs_may_have_no_inputs() {
    for mut session in sessions() {
        let g = Graph::new();
        let s = g.state("s", &[2]);
        g.assign(s, s + 1.0);
        session.set("s", &[2], &[1.0, 2.0]).expect("the sizes match");
        let mut program = session.compile(&g, &[s]).expect("the state is there");
        for want in [[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]] {
            assert_eq!(run(&mut program, &mut session, s.var(), ()), want, "{}", session.executor());
        }
    }
}

/// The states of a scope go when it is dropped, at the session's next change, and no others with them.
#[test]
fn states_of_a_scope_go_with_it() {
    for mut session in sessions() {
        session.set("kept", &[1], &[1.0]).expect("the sizes match");
        // Twelve: the name of the tenth begins with that of the first.
        let mut scopes: Vec<_> = (0..12).map(|_| session.scope()).collect();
        let names: Vec<String> = scopes.iter().map(|scope| scope.name("a")).collect();
        for (name, i) in names.iter().zip(0..) {
            session.set(name, &[1], &[i as f32]).expect("the sizes match");
        }
        let sorted = |names: &[String]| {
            let mut names = [names, &["kept".to_string()]].concat();
            names.sort_unstable();
            names
        };
        assert_eq!(session.names(), sorted(&names), "names of scopes differ");
        let g = Graph::new();
        let y = g.state(&names[0], &[1]) * 2.0;
        let mut program = session.compile(&g, &[y]).expect("the state is there");

        drop(scopes.remove(0));
        session.set("kept", &[1], &[2.0]).expect("the sizes match");
        assert_eq!(session.names(), sorted(&names[1..]), "{}", session.executor());
        assert!(matches!(pollster_block(session.get(&names[0])), Err(Error::Name { what: "state", .. })));
        let ran = program.run(&mut session, ());
        assert!(matches!(ran, Err(Error::Data { .. })), "{ran:?}");
        for (name, i) in names.iter().zip(0..).skip(1) {
            assert_eq!(pollster_block(session.get(name)), Ok(vec![i as f32]));
        }

        drop(scopes);
        let new = session.scope();
        assert_eq!(session.names(), ["kept"]);
        assert!(!names.contains(&new.name("a")), "a name is not used again");
        assert_eq!(pollster_block(session.get("kept")), Ok(vec![2.0]));
    }
}

/// A plan for a session's target is that of the program which it compiles.
#[test]
fn targets_are_the_executors() {
    let g = Graph::new();
    let y = g.input("x", &[2, 5, 7]).matmul(g.input("w", &[2, 7, 3])) + g.input("b", &[3]);
    for (session, fused) in sessions().into_iter().zip([true, true, false]) {
        let executor = session.executor();
        let planned = session.plan(&g, &[y]).expect("it can be planned");
        let compiled = session.compile(&g, &[y]).expect("it fits");
        assert_eq!(planned.to_string(), compiled.plan().to_string(), "{executor}");
        assert_eq!(planned.steps.len(), if fused { 1 } else { 2 }, "{executor}:\n{planned}");
        let launches = planned.dispatches() > 0;
        assert_eq!(launches, matches!(session.target(), Target::Device { .. }), "{executor}:\n{planned}");
    }
    assert_eq!([Session::host().target(), Session::reference().target()], [Target::Host, Target::Reference]);
}
