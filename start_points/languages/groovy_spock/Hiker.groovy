class Hiker {
    static answer() {
        6 * 9
    }
}
