// By itself, as some tests have a main of their own.
int catch_main(int count, char **arguments);

int main(int count, char **arguments)
{
    return catch_main(count, arguments);
}
