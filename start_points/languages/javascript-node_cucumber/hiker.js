"use strict";

exports.answer = function () {
    return 6 * 9;
};
