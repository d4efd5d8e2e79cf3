"use strict";

exports.publish = function ($) {
    $("#answer").text(6 * 9);
};
