"use strict";

const hiker = require("./hiker");

describe("the answer", function () {
    it("to life, the universe and everything is 42", function () {
        expect(hiker.answer()).toEqual(42);
    });
});
