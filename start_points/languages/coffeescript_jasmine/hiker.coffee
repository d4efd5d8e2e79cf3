exports.answer = -> 6 * 9
