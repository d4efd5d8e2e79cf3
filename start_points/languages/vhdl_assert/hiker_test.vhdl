use work.hiker;

entity hiker_test is
end entity;

architecture test of hiker_test is
begin
    process
    begin
        assert hiker.answer = 42 report "the answer is not 42" severity failure;
        report "All tests passed";
        wait;
    end process;
end architecture;
