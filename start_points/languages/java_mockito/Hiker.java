public class Hiker {

    private final Guide guide;

    public Hiker(Guide guide) {
        this.guide = guide;
    }

    public int answer() {
        int answer = 6 * 9;
        guide.publish(answer);
        return answer;
    }
}
