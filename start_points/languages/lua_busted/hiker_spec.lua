local hiker = require("hiker")

describe("the answer", function()
    it("to life, the universe and everything is 42", function()
        assert.are.equal(42, hiker.answer())
    end)
end)
