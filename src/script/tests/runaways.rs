//! Hooks that would run or grow for ever: each is stopped.

use super::*;

/// Runs `body` as a hook in a debug build: it must end as `expected` within the limit and 100 ms.
fn stopped(body: &str) -> Error {
    let mut script = script(&format!("function request(ctx, record) {body} end"));
    // Processor time, so that a busy machine does not fail the test.
    let before = crate::clock::thread_cpu();
    let error = script.request(&record(0), &mut Vec::new()).expect_err("it must be stopped");
    let took = crate::clock::thread_cpu() - before;
    assert!(took < Duration::from_millis(150), "{body}: took {took:?}, {error}");
    let still = script.tallies();
    assert_eq!(still.hooks[&Hook::Request].calls, 1);
    error
}

macro_rules! runaways {
    ($($name:ident: $body:expr => $expected:pat,)*) => {
        $(#[test]
        fn $name() {
            let error = stopped($body);
            assert!(matches!(error, $expected), "{error}");
        })*
    };
}

runaways! {
    an_endless_loop_is_stopped: "while true do end" => Error::Timeout { .. },
    an_endless_loop_in_pcall_is_stopped: "while true do pcall(function() while true do end end) end" => Error::Timeout { .. },
    an_endless_loop_in_xpcall_with_an_endless_handler_is_stopped:
        "local function spin() while true do end end while true do xpcall(spin, spin) end" => Error::Timeout { .. },
    an_endless_loop_in_a_coroutine_is_stopped: "coroutine.wrap(function() while true do end end)()" => Error::Timeout { .. },
    pcall_and_coroutine_nested_are_stopped:
        "while true do pcall(coroutine.wrap(function() while true do pcall(function() while true do end end) end end)) end"
        => Error::Timeout { .. },
    nested_pcall_recursion_is_stopped:
        "local function f() while true do pcall(f) end end f()" => Error::Timeout { .. },
    an_endless_generator_is_stopped: "for _ in function() return 1 end do end" => Error::Timeout { .. },
    pattern_backtracking_is_stopped:
        "return string.find(('a'):rep(28), ('a?'):rep(28) .. ('a'):rep(28))" => Error::Timeout { .. },
    pattern_backtracking_with_lazy_repeats_is_stopped:
        "return tostring(string.find(('a'):rep(5000), '.-.-.-.-b'))" => Error::Timeout { .. },
    pattern_backtracking_in_pcall_is_stopped:
        "while true do pcall(string.gsub, ('a'):rep(50000), '.-b', '') end" => Error::Timeout { .. },
    a_long_set_on_a_long_text_is_refused:
        "return string.find(('a'):rep(1e7), '[' .. ('b'):rep(1e6) .. 'a]*')" => Error::Runtime { .. },
    a_long_plain_search_is_refused:
        "return string.find(('a'):rep(1e7), ('a'):rep(5e6) .. 'b', 1, true)" => Error::Runtime { .. },
    a_long_plain_pattern_is_refused:
        "return string.find(('a'):rep(1e7), ('a'):rep(5e6) .. 'b')" => Error::Runtime { .. },
    a_long_split_is_refused:
        "return string.split(('a'):rep(1e7), ('a'):rep(5e6) .. 'b')" => Error::Runtime { .. },
    the_slowest_pattern_that_is_allowed_is_stopped:
        "while true do string.find(('a'):rep(1e6), '[' .. ('b'):rep(60) .. 'a]*c') end" => Error::Timeout { .. },
    the_slowest_plain_search_that_is_allowed_is_stopped:
        "while true do string.find(('a'):rep(4e6), ('a'):rep(60) .. 'b', 1, true) end" => Error::Timeout { .. },
    the_slowest_allowed_split_is_stopped:
        "while true do string.split(('a'):rep(4e6), ('a'):rep(60) .. 'b') end" => Error::Timeout { .. },
    an_index_loop_is_stopped:
        "local t = setmetatable({}, {__index = function(t, k) while true do end end}) return t.x" => Error::Timeout { .. },
    an_index_chain_that_bites_its_tail_is_an_error:
        "local a, b = {}, {} setmetatable(a, {__index = b}) setmetatable(b, {__index = a}) return a.x" => Error::Runtime { .. },
    an_endless_tostring_is_stopped:
        "return tostring(setmetatable({}, {__tostring = function() while true do end end}))" => Error::Timeout { .. },
    deep_recursion_is_an_error: "local function f() return 1 + f() end return f()" => Error::Runtime { .. },
    endless_recursion_by_index_is_an_error:
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k .. 'x'] end return t.x"
        => Error::Runtime { .. } | Error::Timeout { .. } | Error::Memory { .. },
    a_string_bomb_ends_at_the_memory_limit: "return ('x'):rep(1e9)" => Error::Memory { .. },
    a_string_of_many_short_pieces_ends_at_the_memory_limit: "return ('xy'):rep(5e8)" => Error::Memory { .. },
    building_the_largest_strings_again_and_again_is_stopped:
        "while true do pcall(string.rep, 'x', 3e7) end" => Error::Timeout { .. } | Error::Memory { .. },
    a_table_hog_ends_at_the_memory_limit:
        "local t = {} while true do t[#t + 1] = {} end" => Error::Memory { .. } | Error::Timeout { .. },
    a_created_table_hog_ends_at_the_memory_limit: "return table.create(1e8, 1)" => Error::Memory { .. } | Error::Runtime { .. },
    a_buffer_hog_ends_at_the_memory_limit: "return buffer.create(1e9)" => Error::Memory { .. },
    concat_doubling_ends_at_the_memory_limit:
        "local s = 'x' while true do s = s .. s end" => Error::Memory { .. },
    table_concat_bombs_end_at_the_memory_limit:
        "local s = ('x'):rep(1e6) return table.concat(table.create(1000, s))" => Error::Memory { .. },
    gsub_bombs_end_at_the_memory_limit:
        "return (('x'):rep(1e5):gsub('x', ('y'):rep(1e5)))" => Error::Memory { .. } | Error::Timeout { .. },
    a_memory_error_swallowed_by_pcall_is_stopped:
        "while true do pcall(function() local t = {} while true do t[#t + 1] = ('x'):rep(1e6) .. #t end end) end"
        => Error::Timeout { .. } | Error::Memory { .. },
    coroutines_without_end_are_stopped:
        "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end" => Error::Memory { .. } | Error::Timeout { .. },
    coroutines_that_resume_each_other_deeply_are_stopped:
        "local function f() return coroutine.wrap(f)() end return f()" => Error::Runtime { .. } | Error::Timeout { .. } | Error::Memory { .. },
    sort_with_an_endless_comparison_is_stopped:
        "table.sort({3, 2, 1}, function() while true do end end)" => Error::Timeout { .. },
    sort_with_a_bad_comparison_is_an_error:
        "local t = {} for i = 1, 1000 do t[i] = i end table.sort(t, function() return true end)" => Error::Runtime { .. } | Error::BadReturn { .. },
    sorting_a_large_table_is_stopped:
        "while true do local t = table.create(1e6, 1) for i = 1, 1e6, 1000 do t[i] = i end table.sort(t) end" => Error::Timeout { .. },
    sorting_long_texts_is_stopped:
        "local a, b = ('x'):rep(3e6) .. 'a', ('x'):rep(3e6) .. 'b' local t = {}
        for i = 1, 10000 do t[i] = i % 2 == 0 and a or b end table.sort(t)" => Error::Timeout { .. },
    moving_nothing_for_ever_is_refused: "table.move({}, 1, 2^31 - 2, 2, {})" => Error::Runtime { .. },
    moving_in_a_loop_is_stopped: "while true do table.move({}, 1, 1e5, 2, {}) end" => Error::Timeout { .. },
    unpacking_without_end_is_an_error: "return table.unpack({}, 1, 1e9)" => Error::Runtime { .. },
    inserting_at_the_front_is_stopped:
        "local t = table.create(1e6, 0) while true do table.insert(t, 1, 0) end" => Error::Timeout { .. } | Error::Memory { .. },
    encoding_a_table_that_contains_itself_is_an_error: "local t = {} t.t = t return json.encode(t)" => Error::Runtime { .. },
    encoding_a_web_of_tables_is_stopped:
        "local t = {} for i = 1, 60 do t = {a = t, b = t} end return json.encode(t)" => Error::Timeout { .. } | Error::Runtime { .. },
    encoding_empty_webs_is_stopped:
        "local t = {} for i = 1, 60 do t = {t, t, t, t} end return json.encode(t)" => Error::Timeout { .. } | Error::Runtime { .. },
    encoding_a_large_list_is_stopped:
        "while true do json.encode(table.create(1e6, 0)) end" => Error::Timeout { .. } | Error::Memory { .. },
    decoding_a_large_text_is_stopped:
        "local s = '[' .. ('{\"a\":1},'):rep(2e5) .. '0]' while true do json.decode(s) end" => Error::Timeout { .. } | Error::Memory { .. },
    decoding_in_pcall_is_stopped:
        "local s = '[' .. ('[],'):rep(1e6) .. '0]' while true do pcall(json.decode, s) end" => Error::Timeout { .. },
    helpers_without_memory_are_stopped:
        "local hog = {} pcall(function() while true do hog[#hog + 1] = ('x'):rep(100) .. #hog end end)
        while true do pcall(json.encode, {a = {b = hog}}) pcall(json.decode, '{\"a\":[1,2]}') pcall(uuid) pcall(check, uuid(), 1) end"
        => Error::Timeout { .. } | Error::Memory { .. },
    decoding_more_than_fits_ends_at_the_memory_limit:
        "return json.decode('[' .. ('[],'):rep(2e6) .. '0]')" => Error::Memory { .. } | Error::Timeout { .. },
    decoding_objects_more_than_fit_ends_at_the_memory_limit:
        "return json.decode('[' .. ('{\"a\":{}},'):rep(1e6) .. '0]')" => Error::Memory { .. } | Error::Timeout { .. },
    a_wide_format_is_an_error: "return string.format('%99999d', 1)" => Error::Runtime { .. },
    a_format_bomb_ends_at_the_memory_limit:
        "local s = ('x'):rep(8e6) return string.format('%s%s%s%s%s%s', s, s, s, s, s, s)" => Error::Memory { .. },
    a_frozen_record_is_an_error_and_not_a_crash:
        "table.freeze(record) error('frozen')" => Error::Runtime { .. },
    printing_for_ever_is_stopped: "while true do print('x') end" => Error::Timeout { .. },
    drawing_for_ever_is_stopped: "while true do pcall(random, 1, 6) end" => Error::Timeout { .. },
    naming_for_ever_is_stopped: "local i = 0 while true do i += 1 metrics.counter('n' .. i):inc() end" => Error::Timeout { .. },
}
