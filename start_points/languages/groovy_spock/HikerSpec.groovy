import spock.lang.Specification

class HikerSpec extends Specification {

    def "the answer to life, the universe and everything"() {
        expect:
        Hiker.answer() == 42
    }
}
